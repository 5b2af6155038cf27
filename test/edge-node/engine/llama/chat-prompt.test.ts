// Rendering chat messages by a template.
import test from "ava";
import { createChatPrompt } from "../../../../edge-node/engine/llama/chat-prompt.ts";
import { chatTemplate } from "../../../models/byte-vocabulary.ts";

const specialTexts = ["<|im_start|>", "<|im_end|>", "<s>"];
const options = { bosText: "<s>", eosText: "</s>", specialTexts };

test("the model's own template is rendered", (t) => {
  const render = createChatPrompt({ ...options, template: chatTemplate });
  const parts = render([
    { role: "system", content: "be brief" },
    { role: "user", content: "hi" },
  ]);
  t.deepEqual(parts, [
    "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n" +
      "<|im_start|>assistant\n",
  ]);
});

test("special texts in a message are split, whatever they are hidden in", (t) => {
  const render = createChatPrompt({ ...options, template: chatTemplate });
  for (const content of ["<|im_end|>", "<|im_<|im_end|>end|>", "<s><s>", "\uFDD0<s>"]) {
    const parts = render([{ role: "user", content }]);
    const written = parts.join("");
    t.true(written.includes(content));
    const templates = written.replace(content, "");
    for (const special of specialTexts) {
      const seen = parts.reduce((sum, part) => sum + part.split(special).length - 1, 0);
      t.is(seen, templates.split(special).length - 1, `${special} in ${content}`);
    }
  }
});

test("a template that refuses system messages gets them at the head of the first question", (t) => {
  const template =
    "{% for message in messages %}{% if message.role == 'system' %}" +
    "{{ raise_exception('no system') }}{% endif %}[{{ message.content }}]{% endfor %}";
  const render = createChatPrompt({ ...options, template });
  const system = { role: "system", content: "be brief" } as const;
  t.deepEqual(render([system, { role: "user", content: "hi" }]), ["[be brief\n\nhi]"]);
  t.throws(() => render([system]), { message: /no system/, name: "Fault" });
});

test("without a template the roles are written out", (t) => {
  const render = createChatPrompt({ ...options, template: null });
  t.deepEqual(render([{ role: "user", content: "hi" }]), ["user: hi\nassistant:"]);
});

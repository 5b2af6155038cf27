// What a turn asks the model, however the caller keeps its side of the conversation.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { ChatMessageSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { beginsWith, turnMessages } from "../../../region/session/conversation.ts";

/** "u:hi" is a user's hi; s, a and t are system, assistant and tool. */
function messagesOf(...short: string[]) {
  const roles: Record<string, string> = { s: "system", u: "user", a: "assistant", t: "tool" };
  return short.map((text) =>
    create(ChatMessageSchema, { role: roles[text[0]!] ?? "", content: text.slice(2) }),
  );
}

function askedOf(kept: string[], sent: string[], resumed: string | null = null): string[] {
  const asked = turnMessages(messagesOf(...kept), messagesOf(...sent), resumed);
  return asked.map(({ role, content }) => `${role[0]}:${content}`);
}

test("new messages are put after what is kept", (t) => {
  t.deepEqual(askedOf([], ["u:one"]), ["u:one"]);
  t.deepEqual(askedOf(["u:one", "a:1"], ["u:two"]), ["u:one", "a:1", "u:two"]);
  t.deepEqual(askedOf(["u:one", "a:1"], ["u:one"]), ["u:one", "a:1", "u:one"], "said twice");
});

test("a caller that sends the whole conversation doubles nothing", (t) => {
  const whole = ["s:be brief", "u:one", "a:1", "u:two"];
  t.deepEqual(askedOf(["s:be brief", "u:one", "a:1"], whole), whole);
  t.deepEqual(askedOf(["s:be brief", "u:one", "a:1\n"], whole), whole, "answers get trimmed");
  t.deepEqual(askedOf([...whole, "a:2"], whole), whole, "the last one is asked anew");
});

test("a system message that is repeated is kept once, another one is new", (t) => {
  const kept = ["s:be brief", "u:one", "a:1"];
  t.deepEqual(askedOf(kept, ["s:be brief", "u:two"]), [...kept, "u:two"]);
  t.deepEqual(askedOf(kept, ["s:be long", "u:two"]), [...kept, "s:be long", "u:two"]);
});

test("a resumed turn that is kept already is asked again as it was", (t) => {
  const kept = ["u:one", "a:1", "u:two", "a:two is two"];
  t.deepEqual(askedOf(kept, ["u:two"], "two is"), kept.slice(0, -1));
  t.deepEqual(askedOf(kept, ["u:two"], "another"), [...kept, "u:two"]);
  t.deepEqual(askedOf(kept, ["u:three"], "two is"), [...kept, "u:three"]);
  t.deepEqual(askedOf(["u:one", "a:1"], ["u:two"], "two"), ["u:one", "a:1", "u:two"]);
  t.deepEqual(askedOf(kept, ["u:two"], null), [...kept, "u:two"], "not resumed: said again");
});

test("an answer that called tools is the same in the caller's form", (t) => {
  const kept = [
    ...messagesOf("u:weather?"),
    create(ChatMessageSchema, { role: "assistant", content: '{"name":"look"}' }),
  ];
  const call = '[{"id":"1","type":"function","function":{"name":"look","arguments":"{}"}}]';
  const sent = [
    ...messagesOf("u:weather?"),
    create(ChatMessageSchema, { role: "assistant", toolCalls: call }),
    create(ChatMessageSchema, { role: "tool", content: "rain", toolCallId: "1" }),
  ];
  t.is(turnMessages(kept, sent, null), sent);
  t.false(beginsWith(sent, messagesOf("u:weather?", "u:no answer")));
});

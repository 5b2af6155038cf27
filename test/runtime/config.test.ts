// Configuration files: defaults, freezing, and messages that name what is wrong.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { z } from "zod";
import { ConfigError, parseConfig, parseConfigFile, parseSetting } from "../../runtime/config.ts";

const schema = z.strictObject({
  name: z.string(),
  http: z.strictObject({ port: z.int().default(0) }).prefault({}),
});

test("a configuration gets its defaults and is frozen all the way down", (t) => {
  const config = parseConfig(schema, '{"name":"us-1"}', "edge.json");
  t.deepEqual(config, { name: "us-1", http: { port: 0 } });
  t.true(Object.isFrozen(config) && Object.isFrozen(config.http));
});

test("wrong, missing and unknown keys are named, with the file", (t) => {
  const problem = (text: string) =>
    t.throws(() => parseConfig(schema, text, "edge.json"), { instanceOf: ConfigError })!.message;
  t.regex(problem('{"name":1}'), /edge\.json.*\n {2}name: /);
  t.regex(problem('{"http":{"port":"x"}}'), /http\.port: /);
  t.regex(problem('{"name":"a","nmae":1}'), /"nmae"/);
  t.regex(problem("{"), /edge\.json isn't valid JSON/);
});

test("a file that isn't there is an error that names it", (t) => {
  t.throws(() => parseConfigFile(schema, "/no/such/file.json"), {
    message: /\/no\/such\/file\.json/,
  });
});

test("a setting is laid over the file before the schema, the last one wins", (t) => {
  const settings = ["name=us-1", "http.port=81", "http.port=8080"].map(parseSetting);
  const config = parseConfig(schema, '{"name":"edge"}', "edge.json", settings);
  t.deepEqual(config, { name: "us-1", http: { port: 8080 } });
});

test("a setting's value is JSON where it parses as JSON, and else a string", (t) => {
  const read = (value: string) => parseSetting(`key=${value}`).value;
  t.deepEqual(read('["nats://a:4222"]'), ["nats://a:4222"]);
  t.deepEqual(read('{"a.b":true}'), { "a.b": true });
  t.is(read("8080"), 8080);
  t.is(read('"8080"'), "8080");
  t.is(read("us-1"), "us-1");
  t.is(read("http://us-1.edges:8080/?a=b"), "http://us-1.edges:8080/?a=b");
  t.is(read(""), "");
});

test("a setting that is wrong is told from a wrong file", (t) => {
  const problem = (text: string, ...settings: string[]) =>
    t.throws(() => parseConfig(schema, text, "edge.json", settings.map(parseSetting)), {
      instanceOf: ConfigError,
    })!.message;
  t.regex(problem('{"name":"a"}', "http.port=x"), / {2}http\.port \(by --set\): /);
  t.regex(problem('{"name":"a"}', "http.prot=1"), / {2}http \(by --set\): .*"prot"/);
  t.regex(problem('{"name":1}', "http.port=1"), / {2}name: /);
  t.regex(problem("{}", "__proto__.name=a"), / {2}name: /);
  t.regex(problem('{"name":"a"}', "name.first=b"), /--set name\.first: name isn't an object/);
  for (const text of ["", "name", "=a", "a..b=c", ".a=b"]) {
    t.throws(() => parseSetting(text), { message: /^--set takes a\.b\.c=VALUE, not "/ });
  }
});

test("a process with a wrong configuration says so and exits with 2", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-config-"));
  try {
    const file = join(dir, "wrong.json");
    writeFileSync(file, '{"nmae":"us-1"}');
    const script = `
      import { z } from "zod";
      import { readConfig } from "./runtime/config.ts";
      readConfig(z.strictObject({ name: z.string() }));`;
    const run = (args: string[]) =>
      execFileSync(
        process.execPath,
        ["--input-type=module", "-e", script, "--", "script", ...args],
        {
          stdio: "pipe",
        },
      );
    const wrong = t.throws(() => run(["--config", file])) as unknown as Failure;
    t.is(wrong.status, 2);
    t.regex(String(wrong.stderr), /nmae/);
    const set = t.throws(() => run(["--config", file, "--set", "port=1"])) as unknown as Failure;
    t.regex(String(set.stderr), /by --set.*"port"/);
    const empty = t.throws(() => run(["--config", file, "--set"])) as unknown as Failure;
    t.regex(String(empty.stderr), /--set takes/);
    const none = t.throws(() => run([])) as unknown as Failure;
    t.is(none.status, 2);
    t.regex(String(none.stderr), /--config FILE/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

interface Failure {
  readonly status: number;
  readonly stderr: Buffer;
}

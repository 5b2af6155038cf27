// How a role reads its configuration: one JSON file, one strict schema, one frozen object.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { z } from "zod";

/** A configuration that can't be used; the message names the file and every wrong key. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

const EXIT_USAGE = 2;

/**
 * Reads the file given by `--config FILE` through the schema. Objects in the schema should be
 * `z.strictObject`, so that a misspelt key is an error. On anything wrong it prints one message
 * that names the key and exits with 2: there is nobody yet to catch it.
 */
export function readConfig<T>(
  schema: z.ZodType<T>,
  argv: readonly string[] = process.argv.slice(2),
): Readonly<T> {
  try {
    return parseConfigFile(schema, configPath(argv));
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
    process.stderr.write(`${thrown.message}\n`);
    process.exit(EXIT_USAGE);
  }
}

/** Reads and checks one file. Faults: throws a ConfigError. */
export function parseConfigFile<T>(schema: z.ZodType<T>, path: string): Readonly<T> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    throw new ConfigError(`Can't read the configuration ${path}: ${messageOf(thrown)}`);
  }
  return parseConfig(schema, text, path);
}

/** Checks the text of a configuration. `origin` is what the messages call it. */
export function parseConfig<T>(schema: z.ZodType<T>, text: string, origin: string): Readonly<T> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new ConfigError(`${origin} isn't valid JSON: ${messageOf(thrown)}`);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return deepFreeze(parsed.data);
  const lines = parsed.error.issues.map((issue) => `  ${keyOf(issue.path)}: ${issue.message}`);
  throw new ConfigError(`${origin} is wrong:\n${lines.join("\n")}`);
}

function configPath(argv: readonly string[]): string {
  const { values } = parseArgs({
    args: [...argv],
    options: { config: { type: "string" } },
    strict: false, // other flags belong to runRole
  });
  if (typeof values.config === "string") return values.config;
  throw new ConfigError("Say which configuration to use: --config FILE");
}

function keyOf(path: readonly PropertyKey[]): string {
  return path.length === 0 ? "(top level)" : path.map(String).join(".");
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

// How a role reads its configuration: one JSON file, keys laid over it by `--set`, one strict
// schema, one frozen object.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { z } from "zod";

/** A configuration that can't be used; the message names the file and every wrong key. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** One key laid over the file: `--set a.b.c=VALUE`. */
export interface Setting {
  readonly path: readonly string[];
  readonly value: unknown;
}

const EXIT_USAGE = 2;
/** What one command line may lay over its file. */
const SETTINGS_MAX = 64;
const SETTING_DEPTH_MAX = 16;

/**
 * Reads the file given by `--config FILE` through the schema, with every `--set a.b.c=VALUE` laid
 * over it first: what one file for many processes can't say, such as each one's own name. Objects
 * in the schema should be `z.strictObject`, so that a misspelt key is an error. On anything wrong
 * it prints one message that names the key and exits with 2: there is nobody yet to catch it.
 */
export function readConfig<T>(
  schema: z.ZodType<T>,
  argv: readonly string[] = process.argv.slice(2),
): Readonly<T> {
  try {
    const { path, settings } = configArguments(argv);
    return parseConfigFile(schema, path, settings);
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
    process.stderr.write(`${thrown.message}\n`);
    process.exit(EXIT_USAGE);
  }
}

/** Reads and checks one file. Faults: throws a ConfigError. */
export function parseConfigFile<T>(
  schema: z.ZodType<T>,
  path: string,
  settings: readonly Setting[] = [],
): Readonly<T> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    throw new ConfigError(`Can't read the configuration ${path}: ${messageOf(thrown)}`);
  }
  return parseConfig(schema, text, path, settings);
}

/** Checks the text of a configuration. `origin` is what the messages call it. */
export function parseConfig<T>(
  schema: z.ZodType<T>,
  text: string,
  origin: string,
  settings: readonly Setting[] = [],
): Readonly<T> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new ConfigError(`${origin} isn't valid JSON: ${messageOf(thrown)}`);
  }
  for (const setting of settings) json = laidOver(json, setting, setting.path);
  const parsed = schema.safeParse(json);
  if (parsed.success) return deepFreeze(parsed.data);
  const lines = parsed.error.issues.map((issue) => {
    const given = settings.some(({ path }) => isAbout(issue, path)) ? " (by --set)" : "";
    return `  ${keyOf(issue.path)}${given}: ${issue.message}`;
  });
  throw new ConfigError(`${origin} is wrong:\n${lines.join("\n")}`);
}

/**
 * Reads `a.b.c=VALUE`, the argument of `--set`. VALUE is JSON where it parses as JSON, and else the
 * string itself. Keys that hold a dot are set through the object around them, as JSON.
 */
export function parseSetting(text: string): Setting {
  const equals = text.indexOf("=");
  const path = text.slice(0, Math.max(equals, 0)).split(".");
  if (path.includes("") || path.length > SETTING_DEPTH_MAX) {
    throw new ConfigError(`--set takes a.b.c=VALUE, not ${JSON.stringify(text)}`);
  }
  const value = text.slice(equals + 1);
  try {
    return { path, value: JSON.parse(value) };
  } catch {
    return { path, value }; // a plain word, such as a name or an address
  }
}

function configArguments(argv: readonly string[]): { path: string; settings: Setting[] } {
  const { values } = parseArgs({
    args: [...argv],
    options: { config: { type: "string" }, set: { type: "string", multiple: true } },
    strict: false, // other flags belong to runRole
  });
  if (typeof values.config !== "string") {
    throw new ConfigError("Say which configuration to use: --config FILE");
  }
  const given = values.set ?? [];
  if (given.length > SETTINGS_MAX) {
    throw new ConfigError(`--set may be given ${SETTINGS_MAX} times, not ${given.length}`);
  }
  // Without an argument, the flag comes as true.
  const settings = given.map((text) => parseSetting(text === true ? "" : String(text)));
  return { path: values.config, settings };
}

/** The object with one key more; objects on the way to it are made where there are none. */
function laidOver(base: unknown, setting: Setting, rest: readonly string[]): unknown {
  const [key, ...deeper] = rest;
  if (key === undefined) return setting.value;
  if (typeof base !== "object" || base === null || Array.isArray(base)) {
    const whole = setting.path.join(".");
    const above = setting.path.slice(0, setting.path.length - rest.length);
    throw new ConfigError(`--set ${whole}: ${keyOf(above)} isn't an object`);
  }
  const inner = new Map<string, unknown>(Object.entries(base)).get(key);
  // A computed key is always the object's own, whatever it is called.
  const below = inner === undefined && deeper.length > 0 ? {} : inner;
  return { ...base, [key]: laidOver(below, setting, deeper) };
}

/** Whether what the schema found wrong is what a setting gave. */
function isAbout(issue: z.core.$ZodIssue, path: readonly string[]): boolean {
  const at = issue.path.map(String);
  const within = (outer: readonly string[], inner: readonly string[]) =>
    outer.every((key, index) => key === inner[index]);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.some((key) => within([...at, key], path) || within(path, [...at, key]));
  }
  return at.length > 0 && (within(at, path) || within(path, at));
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

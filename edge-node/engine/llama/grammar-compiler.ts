// Compiles what restricts an output to a grammar, and keeps the compiled ones that callers send
// again and again.
import assert from "node:assert/strict";
import { LRUCache } from "lru-cache";
import type { Llama, LlamaGrammar } from "node-llama-cpp";
import { Fault } from "../../../proto/fault.ts";
import type { Constraint } from "../engine.ts";
import { readJsonSchema } from "./json-schema.ts";

const GRAMMARS_KEPT = 64;

export interface GrammarCompiler {
  /** Faults: invalid-argument with what is wrong with the schema or grammar. */
  compile(constraint: Constraint): Promise<LlamaGrammar>;
}

export function createGrammarCompiler(llama: Llama): GrammarCompiler {
  const kept = new LRUCache<string, LlamaGrammar>({ max: GRAMMARS_KEPT });
  return {
    async compile(constraint) {
      const key = JSON.stringify(constraint);
      const known = kept.get(key);
      if (known !== undefined) return known;
      const grammar = await compileNew(llama, constraint);
      kept.set(key, grammar);
      return grammar;
    },
  };
}

/** What node-llama-cpp puts after a schema's value, as its own chat sessions stop at it. */
const TRAILING_LINES = /^(root ::= .*) "(?:\\n){4}" \[\\n\]\*$/m;

/**
 * The grammar of a schema that ends where its value ends. Source: node-llama-cpp 3.22.1,
 * getGbnfGrammarForGbnfJsonSchema, demands four line breaks and allows any number more: a small
 * model goes on with them up to its last token.
 */
function endingAtOnce(grammar: string): string {
  assert.match(grammar, TRAILING_LINES, "node-llama-cpp ends its grammars in another way now");
  return grammar.replace(TRAILING_LINES, "$1");
}

async function compileNew(llama: Llama, constraint: Constraint): Promise<LlamaGrammar> {
  if (constraint.kind === "json-object") return llama.getGrammarFor("json");
  try {
    if (constraint.kind === "grammar") {
      return await llama.createGrammar({ grammar: constraint.gbnf });
    }
    // Its type parameters infer the result from a literal schema; ours is known at run time only.
    const schema = readJsonSchema(constraint.schema) as { type: "object" };
    const { grammar } = await llama.createGrammarForJsonSchema(schema);
    return await llama.createGrammar({ grammar: endingAtOnce(grammar) });
  } catch (problem) {
    if (problem instanceof Fault || problem instanceof assert.AssertionError) throw problem;
    const why = problem instanceof Error ? problem.message : String(problem);
    throw new Fault("invalid-argument", `the ${constraint.kind} doesn't compile: ${why}`, {
      param: "response_format",
    });
  }
}

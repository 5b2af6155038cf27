// A value that a JSON schema allows, the same for the same schema: what a scripted model says when
// it is held to one.

export interface JsonSchema {
  readonly anyOf?: readonly JsonSchema[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly type?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
}

/** Knows choices, constants, objects and scalars; lists are empty. */
export function schemaInstance(schema: JsonSchema): unknown {
  if (schema.anyOf !== undefined) return schemaInstance(schema.anyOf[0] ?? {});
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  switch (schema.type) {
    case "string":
      return "text";
    case "integer":
    case "number":
      return 1;
    case "boolean":
      return true;
    case "array":
      return [];
    default:
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, one]) => [name, schemaInstance(one)]),
      );
  }
}

// Holds an object against the schema of its kind, Kubernetes' or KEDA's, as strictly as
// `kubectl --validate=strict`: a key that the schema doesn't know is wrong too.
import type { KubeObject } from "./rendered-overlays.ts";

interface SchemaError {
  readonly instancePath: string;
  readonly keyword: string;
  readonly params: object;
}

interface Validate {
  (data: unknown): boolean;
  errors?: readonly SchemaError[] | null;
}

const keda = schemasOf("@kubernetes-models/keda", "ComGithubKedacoreKedaV2ApisKedaV1alpha1");
const core = schemasOf("kubernetes-models", "IoK8sApi");
/** By apiVersion: where its kinds' schemas are. */
const schemas: Readonly<Record<string, string>> = {
  v1: `${core}CoreV1`,
  "apps/v1": `${core}AppsV1`,
  "networking.k8s.io/v1": `${core}NetworkingV1`,
  "policy/v1": `${core}PolicyV1`,
  "scheduling.k8s.io/v1": `${core}SchedulingV1`,
  "keda.sh/v1alpha1": keda,
};

/** What is wrong with the object, a line each; none when it is right. */
export async function schemaErrors(object: KubeObject): Promise<string[]> {
  const schema = schemas[object.apiVersion];
  if (schema === undefined) return [`${object.apiVersion}: no schema is known`];
  const { validate } = (await import(`${schema}${object.kind}.js`)) as { validate: Validate };
  const unread = new Set<string>();
  const watched = watch(object, "", unread);
  if (!validate(watched)) {
    const errors = validate.errors ?? [];
    return errors.map(
      ({ instancePath, keyword, params }) =>
        `${instancePath}: ${keyword} ${JSON.stringify(params)}`,
    );
  }
  return [...unread].map((path) => `${path} isn't a key of the schema`);
}

function schemasOf(name: string, prefix: string): string {
  return new URL(`./_schemas/${prefix}`, import.meta.resolve(name)).href;
}

/**
 * The same value, which takes out of `unread` each of its keys that somebody looks at. A compiled
 * schema looks at the keys that it knows, and at every key of a map.
 */
function watch(value: unknown, path: string, unread: Set<string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  const inner = new Map<PropertyKey, unknown>();
  for (const [key, below] of Object.entries(value)) {
    unread.add(`${path}/${key}`);
    inner.set(key, watch(below, `${path}/${key}`, unread));
  }
  return new Proxy(value, {
    get(target, key, receiver) {
      unread.delete(`${path}/${String(key)}`);
      return inner.has(key) ? inner.get(key) : Reflect.get(target, key, receiver);
    },
  });
}

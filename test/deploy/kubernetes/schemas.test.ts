// Every object of every overlay, as kustomize renders it, against the schemas of Kubernetes 1.36
// and of KEDA 2.19 (as kubernetes-models 5.1 and @kubernetes-models/keda 2.0 carry them).
import test from "ava";
import { overlays, parseObjects, renderOverlays } from "./rendered-overlays.ts";
import { schemaErrors } from "./schema-check.ts";

const rendered = await renderOverlays();

for (const overlay of rendered) {
  test(`every object of ${overlay.name} fits its schema and has no key beside it`, async (t) => {
    t.true(overlay.objects.length > 10);
    const wrong: string[] = [];
    for (const object of overlay.objects) {
      const { namespace = "", name } = object.metadata;
      const errors = await schemaErrors(object);
      wrong.push(...errors.map((error) => `${object.kind} ${namespace}/${name}: ${error}`));
    }
    t.deepEqual(wrong, []);
  });

  test(`no object of ${overlay.name} is there twice`, (t) => {
    const ids = overlay.objects.map(
      ({ kind, metadata: { namespace = "", name } }) => `${kind} ${namespace}/${name}`,
    );
    t.deepEqual([...new Set(ids)], ids);
  });
}

test("what kustomize can render is what is tested", (t) => {
  t.deepEqual(
    rendered.map(({ name }) => name),
    [...overlays],
  );
  t.true(rendered.some(({ objects }) => objects.some(({ kind }) => kind === "ScaledObject")));
});

test("a misspelt key and a wrong type are found", async (t) => {
  const service = (spec: string) =>
    schemaErrors(parseObjects(`{apiVersion: v1, kind: Service, metadata: {name: a}, ${spec}}`)[0]!);
  t.deepEqual(await service("spec: {ports: [{port: 80}], selector: {any: thing}}"), []);
  t.deepEqual(await service("spec: {port: [{port: 80}]}"), [
    "/spec/port isn't a key of the schema",
    "/spec/port/0 isn't a key of the schema",
    "/spec/port/0/port isn't a key of the schema",
  ]);
  t.regex(
    (await service('spec: {ports: [{port: "80"}]}')).join(),
    /ports\/0\/port: type .*integer/,
  );
});

// What an image installs: of the lock, the packages of one target.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import test from "ava";
import {
  engineLock,
  enginePackage,
  type ImageTarget,
  type PackageLock,
} from "../../../deploy/image/engine-lock.ts";

const root = resolve(import.meta.dirname, "../../..");
const lock = JSON.parse(readFileSync(resolve(root, "package-lock.json"), "utf8")) as PackageLock;

function installed(target: ImageTarget): string[] {
  return Object.keys(engineLock(lock, target).packages);
}

const engineOf = (target: ImageTarget) =>
  installed(target).filter((path) => path.includes("@node-llama-cpp/"));

test("an image has the engine of its processor, and of the GPU's what was asked for", (t) => {
  const own = "node_modules/@node-llama-cpp/linux-x64";
  t.deepEqual(engineOf({ engine: "cpu", cpu: "x64" }), [own]);
  t.deepEqual(engineOf({ engine: "cuda", cpu: "x64" }), [own, `${own}-cuda`, `${own}-cuda-ext`]);
  t.deepEqual(engineOf({ engine: "cpu", cpu: "arm64" }), [own.replace("x64", "arm64")]);
});

test("nothing for development, no second Node, no compiler, nothing of another platform", (t) => {
  const { packages } = engineLock(lock, { engine: "cpu", cpu: "x64" });
  for (const [path, entry] of Object.entries(packages)) {
    t.not(entry.dev, true, path);
    t.notRegex(path, /node_modules\/(node|typescript|ava|@typescript\/.*)$/);
    t.notRegex(path, /-(darwin|win32|musl|android|freebsd|openbsd)(-|$)/);
  }
  t.true("node_modules/koffi" in packages && "node_modules/@koromix/koffi-linux-x64" in packages);
});

test("the lock is whole: what its packages name as dependencies is in it", (t) => {
  const { packages } = engineLock(lock, { engine: "cpu", cpu: "x64" });
  for (const [path, { dependencies = {}, optionalDependencies = {} }] of Object.entries(packages)) {
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const near = [`${path}/node_modules/${name}`, `node_modules/${name}`];
      t.true(
        near.some((place) => place in packages),
        `${path} > ${name}`,
      );
    }
  }
  const manifest = JSON.parse(readFileSync(resolve(root, "package.json"), "utf8")) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const { dependencies } = enginePackage(manifest);
  t.false("node" in dependencies);
  t.deepEqual(packages[""]?.dependencies, dependencies);
});

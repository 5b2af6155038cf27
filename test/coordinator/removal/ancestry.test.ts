// Whose deltas are in a version.
import test from "ava";
import type { Origin, VersionRecord } from "../../../coordinator/catalogue/model-record.ts";
import { ancestryOf, contributorsOf } from "../../../coordinator/removal/ancestry.ts";

const base = { sha256: "a".repeat(64), bytes: 1, name: "base.gguf" };
const versionOf = (number: number, parent: number | null, origin: Origin): VersionRecord => ({
  ...{ model: "m", version: `m@${number}`, number, base, adapters: [], createdMs: 0, origin },
  ...{ parent: parent === null ? null : `m@${parent}`, training: null, evaluations: [] },
  ...{ verdict: "candidate", reason: "" },
});
const round = (number: number, contributors: string[]): Origin => {
  return { kind: "round", campaign: "c", round: number, contributors, weight: 1 };
};

const versions = [
  versionOf(1, null, { kind: "published" }),
  versionOf(2, 1, round(1, ["eu/1", "us/1"])),
  versionOf(3, 2, round(2, ["us/1", "us/2"])),
  // Made of m@3; its own parent is where m@3 came from.
  versionOf(4, 2, { kind: "rebuilt", from: "m@3", without: ["us/1"] }),
  versionOf(5, 4, round(3, ["eu/1"])),
  versionOf(6, 5, { kind: "merged", from: "m@5", quantization: "q8_0" }),
];
const catalogue = { version: (id: string) => versions[Number(id.split("@")[1]) - 1]! };

test("all rounds that led to a version are in it, through rebuilt and merged ones", (t) => {
  const rounds = (id: string) =>
    ancestryOf(catalogue, id).rounds.map(({ record }) => record.version);
  t.deepEqual(rounds("m@1"), []);
  t.deepEqual(rounds("m@3"), ["m@2", "m@3"]);
  t.deepEqual(rounds("m@6"), ["m@2", "m@3", "m@5"]);
});

test("an edge that was taken out is in no version made from there on", (t) => {
  const edges = (id: string) => [...contributorsOf(ancestryOf(catalogue, id))];
  t.deepEqual(edges("m@3"), [
    ["eu/1", ["c/1"]],
    ["us/1", ["c/1", "c/2"]],
    ["us/2", ["c/2"]],
  ]);
  t.deepEqual(ancestryOf(catalogue, "m@6").without, ["us/1"]);
  t.deepEqual(edges("m@6"), [
    ["eu/1", ["c/1", "c/3"]],
    ["us/2", ["c/2"]],
  ]);
});

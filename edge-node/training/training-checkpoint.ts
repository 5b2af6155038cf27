// Saves and restores a trainer between steps; a restored one goes on bit for bit.

import fs from "node:fs";
import { Fault } from "../../proto/fault.ts";
import {
  readSafetensors,
  type SafeTensor,
  writeSafetensors,
} from "../../sync/formats/safetensors.ts";
import type { Trainer } from "./trainer.ts";

/** Strings to find beside the numbers, e.g. what the run was about. */
export type CheckpointNotes = Readonly<Record<string, string>>;

/** Writes weights, moments and the count of updates, whole or not at all. */
export function saveCheckpoint(file: string, trainer: Trainer, notes: CheckpointNotes): void {
  const tensors = new Map<string, SafeTensor>();
  for (const { name } of trainer.parameters.list) {
    for (const [part, data] of Object.entries(trainer.parameters.read(name))) {
      tensors.set(`${name}#${part}`, { shape: [data.length], data });
    }
  }
  writeSafetensors(file, { metadata: { ...notes, updates: String(trainer.updates) }, tensors });
}

/**
 * Restores a checkpoint into a trainer of the same layout and returns its notes. Returns undefined,
 * and changes nothing, when there is none, or when `accepts` turns its notes down.
 * Faults: invalid-argument, failed-precondition, for a damaged one, which changes nothing either.
 */
export function restoreCheckpoint(
  file: string,
  trainer: Trainer,
  accepts: (notes: CheckpointNotes) => boolean = () => true,
): CheckpointNotes | undefined {
  if (!fs.existsSync(file)) return undefined;
  const { metadata, tensors } = readSafetensors(file);
  if (!accepts(metadata)) return undefined;
  const updates = Number(metadata.updates);
  if (!Number.isSafeInteger(updates) || updates < 1) {
    throw new Fault("failed-precondition", `${file}: ${metadata.updates} updates`);
  }
  const part = (name: string) => tensors.get(name)?.data ?? new Float32Array();
  const states = trainer.parameters.list.map(({ name }) => ({
    name,
    value: part(`${name}#value`),
    firstMoment: part(`${name}#firstMoment`),
    secondMoment: part(`${name}#secondMoment`),
  }));
  // All are checked before any is written.
  for (const { name, ...state } of states) trainer.parameters.check(name, state);
  for (const { name, ...state } of states) trainer.parameters.write(name, state);
  trainer.updates = updates;
  return metadata;
}

// What the person who started the mesh can put right: a wrong option, a taken port, a busy folder.

/** A wrong option; the message names it. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The mesh can't start here now, or failed to; the message says why and what to change. */
export class MeshRefused extends Error {
  override readonly name = "MeshRefused";
}

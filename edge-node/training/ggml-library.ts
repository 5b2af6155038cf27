// Opens the ggml libraries that node-llama-cpp's platform package carries, through koffi.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import koffi from "koffi";
import { Fault } from "../../proto/fault.ts";
import {
  BASE_SIGNATURES,
  type BoundFunctions,
  type CType,
  REGISTRY_SIGNATURES,
} from "./ggml-signatures.ts";

/**
 * The one version whose calls and struct layouts were tested. ggml promises no stable interface,
 * so that another version may crash, or worse, compute something else.
 */
export const GGML_VERSION = "0.25.1";

/** ggml's number for the kind of device that computes on the CPU. */
const DEVICE_TYPE_CPU = 0;

/** The platform packages of node-llama-cpp that carry plain CPU libraries. */
const PACKAGES: Record<string, string> = {
  "linux-x64": "linux-x64",
  "linux-arm64": "linux-arm64",
  "linux-arm": "linux-armv7l",
  "darwin-x64": "mac-x64",
  "darwin-arm64": "mac-arm64-metal",
  "win32-x64": "win-x64",
  "win32-arm64": "win-arm64",
};

export type GgmlFunctions = BoundFunctions<typeof BASE_SIGNATURES>;
type RegistryFunctions = BoundFunctions<typeof REGISTRY_SIGNATURES>;

/** The opened library: its functions, and the CPU backends that it makes. */
export interface GgmlLibrary {
  readonly functions: GgmlFunctions;
  /** Starts a CPU backend with the best instruction set that this machine has. */
  createCpuBackend(threads: number): bigint;
}

let opened: GgmlLibrary | undefined;

/** Opens ggml once a process. Faults: unsupported. */
export function openGgml(): GgmlLibrary {
  opened ??= openLibrary(librariesFolder());
  return opened;
}

/** Finds the folder with the libraries by resolving node-llama-cpp's platform package. */
function librariesFolder(): string {
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  if (!name) {
    throw unsupported(`no ggml library for ${process.platform} on ${process.arch}`);
  }
  try {
    const fromHere = createRequire(import.meta.url);
    const fromEngine = createRequire(fromHere.resolve("node-llama-cpp"));
    const entry = fromEngine.resolve(`@node-llama-cpp/${name}`);
    return path.join(path.dirname(entry), "..", "bins", name);
  } catch (cause) {
    throw unsupported(`the package @node-llama-cpp/${name} isn't installed; run npm ci`, cause);
  }
}

function openLibrary(folder: string): GgmlLibrary {
  const functions = bind(folder, /^(lib)?ggml-base\.(so|dylib|dll)$/, BASE_SIGNATURES);
  const version = functions.ggml_version();
  if (version !== GGML_VERSION) {
    throw unsupported(
      `ggml ${version} found, but training was tested with ${GGML_VERSION} only; ` +
        "install the node-llama-cpp version that package-lock.json names",
    );
  }
  const registry = bind(folder, /^(lib)?ggml(\.v[\d.]+)?\.(so|dylib|dll)$/, REGISTRY_SIGNATURES);
  return {
    functions,
    createCpuBackend: (threads) => createCpuBackend(functions, registry, folder, threads),
  };
}

const setThreadsType = koffi.proto("void isthmus_set_n_threads(void *backend, int threads)");

function createCpuBackend(
  functions: GgmlFunctions,
  registry: RegistryFunctions,
  folder: string,
  threads: number,
): bigint {
  let device = registry.ggml_backend_dev_by_type(DEVICE_TYPE_CPU);
  if (!device) {
    registry.ggml_backend_load_all_from_path(folder);
    device = registry.ggml_backend_dev_by_type(DEVICE_TYPE_CPU);
  }
  if (!device) throw unsupported(`ggml found no CPU backend in ${folder}`);
  const backend = functions.ggml_backend_dev_init(device, null);
  const setThreads = functions.ggml_backend_reg_get_proc_address(
    functions.ggml_backend_dev_backend_reg(device),
    "ggml_backend_set_n_threads",
  );
  koffi.decode(setThreads, setThreadsType)(backend, threads);
  return backend;
}

koffi.struct("isthmus_ggml_init_params", {
  mem_size: "size_t",
  mem_buffer: "void *",
  no_alloc: "bool",
});

/** How koffi spells the types of the tables. */
const KOFFI_TYPES: Record<CType, string> = {
  void: "void",
  pointer: "void *",
  optional: "void *",
  buffer: "void *",
  int: "int",
  int64: "int64_t",
  size: "size_t",
  float: "float",
  bool: "bool",
  string: "const char *",
  init: "isthmus_ggml_init_params",
};

function bind<T extends Record<string, readonly [CType, ...CType[]]>>(
  folder: string,
  file: RegExp,
  signatures: T,
): BoundFunctions<T> {
  const name = fs.existsSync(folder) && fs.readdirSync(folder).find((f) => file.test(f));
  if (!name) throw unsupported(`no ggml library in ${folder}; run npm ci`);
  const library = koffi.load(path.join(folder, name));
  const bound = Object.entries(signatures).map(([symbol, [result, ...parameters]]) => [
    symbol,
    library.func(
      symbol,
      KOFFI_TYPES[result],
      parameters.map((p) => KOFFI_TYPES[p]),
    ),
  ]);
  return Object.fromEntries(bound) as BoundFunctions<T>;
}

function unsupported(message: string, cause?: unknown): Fault {
  return new Fault("unsupported", message, { cause });
}

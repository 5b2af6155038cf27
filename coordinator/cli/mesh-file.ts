// Finds the mesh that the command is about: by option, by environment, or by the mesh.json that the
// local mesh writes.
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { Fault } from "../../proto/fault.ts";
import { UsageError } from "./usage-error.ts";

const COORDINATOR_VARIABLE = "ISTHMUS_COORDINATOR";
const WAN_VARIABLE = "ISTHMUS_WAN";
const FOLDER = ".isthmus";
const FILE = "mesh.json";

/** More keys may be there: the launcher owns the file. */
const meshSchema = z.object({
  processes: z.array(
    z.object({
      role: z.string(),
      name: z.string(),
      region: z.string().optional(),
      http: z.string().optional(),
    }),
  ),
});
export type MeshFile = z.infer<typeof meshSchema>;

export interface MeshSearch {
  readonly coordinator?: string | undefined;
  readonly wan?: string | undefined;
  readonly dir?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/** The coordinator's address. Faults: UsageError when nothing says where it is. */
export function findCoordinator(search: MeshSearch): string {
  const given = search.coordinator ?? search.env[COORDINATOR_VARIABLE];
  if (given !== undefined) return checkedUrl(given, "--coordinator");
  const [coordinator] = addressesOf(readMesh(search), "coordinator");
  if (coordinator !== undefined) return coordinator.http;
  throw new UsageError(
    "isthmus: no coordinator is known here",
    `Start a mesh with \`npm start\`, or give --coordinator URL or ${COORDINATOR_VARIABLE}.`,
  );
}

/** The emulated network's address. Faults: UsageError when nothing says where it is. */
export function findWan(search: MeshSearch): string {
  const given = search.wan ?? search.env[WAN_VARIABLE];
  if (given !== undefined) return checkedUrl(given, "--wan");
  const [wan] = addressesOf(readMesh(search), "wan");
  if (wan !== undefined) return wan.http;
  throw new UsageError(
    "isthmus: no emulated network is known here",
    `Start a mesh with \`npm start -- --wan\`, or give --wan URL or ${WAN_VARIABLE}.`,
  );
}

/** Addresses of the gateways, then of the edges. Faults: UsageError when there are none. */
export function findServing(search: MeshSearch): { name: string; http: string }[] {
  const mesh = readMesh(search);
  const found = [...addressesOf(mesh, "region"), ...addressesOf(mesh, "edge")];
  if (found.length > 0) return found;
  throw new UsageError(
    "isthmus: no gateway is known here",
    "Start a mesh with `npm start`, or give --url URL.",
  );
}

/** Addresses of the edges; none where there is no mesh.json. */
export function findEdges(search: MeshSearch): { name: string; http: string }[] {
  return addressesOf(readMesh(search), "edge");
}

function addressesOf(mesh: MeshFile | undefined, wanted: string) {
  return (mesh?.processes ?? []).flatMap(({ role, name, http }) => {
    return role === wanted && http !== undefined ? [{ name, http }] : [];
  });
}

export function checkedUrl(text: string, option: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url.origin;
  throw new UsageError(`isthmus: ${option} must be http://host:port, not ${JSON.stringify(text)}`);
}

function readMesh({ dir, cwd }: MeshSearch): MeshFile | undefined {
  const candidates = dir === undefined ? upwards(cwd) : [join(resolve(cwd, dir), FILE)];
  for (const path of candidates) {
    const text = readIfThere(path);
    if (text === undefined) continue;
    try {
      return meshSchema.parse(JSON.parse(text));
    } catch (thrown) {
      throw new Fault("failed-precondition", `${path} isn't a mesh file`, { cause: thrown });
    }
  }
  if (dir === undefined) return undefined;
  throw new UsageError(`isthmus: there is no ${FILE} in ${dir}`, "Is a mesh running there?");
}

function upwards(from: string): string[] {
  const paths: string[] = [];
  for (let folder = resolve(from); ; folder = dirname(folder)) {
    paths.push(join(folder, FOLDER, FILE));
    if (folder === dirname(folder)) return paths;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw thrown;
  }
}

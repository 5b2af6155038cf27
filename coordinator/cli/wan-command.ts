// `isthmus wan`: the emulated network between the sites of a rehearsed mesh; shows its links, cuts
// and heals them, makes them slower or worse.
import {
  type Command,
  type CommandScope,
  numberOption,
  type OptionSpecs,
  type OptionValues,
  readArgs,
} from "./command.ts";
import { findWan } from "./mesh-file.ts";
import { requestRole } from "./role-request.ts";
import { bytesText, table } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

/** A link, as the emulated network tells it. */
interface LinkRow {
  readonly between: readonly [string, string];
  readonly rttMs: number;
  readonly jitterMs: number;
  readonly lossRate: number;
  readonly mbitPerS: number | null;
  readonly cut: boolean;
  readonly connections: number;
  readonly bytes: number;
}

type LinkChange = Partial<Pick<LinkRow, "rttMs" | "jitterMs" | "lossRate" | "mbitPerS" | "cut">>;

const REQUEST_TIMEOUT_MS = 10_000;
const UNLIMITED = "unlimited";

const wanOptions = {
  wan: { type: "string" },
  dir: { type: "string" },
  json: { type: "boolean" },
} as const satisfies OptionSpecs;
const shapeOptions = {
  rtt: { type: "string" },
  jitter: { type: "string" },
  loss: { type: "string" },
  bandwidth: { type: "string" },
} as const satisfies OptionSpecs;

const wanOptionLines = [
  "--wan URL           the emulated network's address; else ISTHMUS_WAN, else mesh.json",
  "--dir DIR           folder of the local mesh with mesh.json; else the nearest .isthmus",
  "--json              as JSON",
];
const SITES = ["SITE", "[SITE]"];
const SITES_USAGE = "SITE [SITE]";

export const wanCommand: Command = {
  name: "wan",
  summary: "The emulated network between sites: cut links, heal them, make them worse.",
  subcommands: [
    {
      name: "ls",
      summary: "Lists links: what each is like, whether it is cut, what goes over it.",
      usage: "[--json]",
      options: wanOptionLines,
      examples: ["isthmus wan ls"],
      run: list,
    },
    {
      name: "cut",
      summary: "Cuts the link of two sites, or all of one: what is sent no longer arrives.",
      usage: SITES_USAGE,
      options: wanOptionLines,
      examples: ["isthmus wan cut us eu", "isthmus wan cut ap   # from everybody"],
      run: (args, scope) => join("cut", args, scope),
    },
    {
      name: "heal",
      summary: "Heals the link of two sites, or all of one.",
      usage: SITES_USAGE,
      options: wanOptionLines,
      examples: ["isthmus wan heal us eu", "isthmus wan heal ap"],
      run: (args, scope) => join("heal", args, scope),
    },
    {
      name: "set",
      summary: "Changes what the link of two sites is like, or all links of one.",
      usage: `${SITES_USAGE} [--rtt MS] [--jitter MS] [--loss RATE] [--bandwidth MBIT]`,
      options: [
        ...wanOptionLines,
        "--rtt MS            least that a round trip takes",
        "--jitter MS         most that it takes beyond that",
        "--loss RATE         share of TCP segments that must be sent again, e.g. 0.01",
        `--bandwidth MBIT    megabits a second each way, or ${UNLIMITED}`,
      ],
      examples: [
        "isthmus wan set us eu --rtt 200 --jitter 10 --loss 0.01 --bandwidth 100",
        `isthmus wan set ap --bandwidth ${UNLIMITED}`,
      ],
      run: set,
    },
  ],
};

async function list(args: readonly string[], scope: CommandScope): Promise<void> {
  const { values } = readArgs(args, "isthmus wan ls", wanOptions);
  show(await request<LinkRow[]>("GET", "/links", values, scope), values, scope);
}

async function join(
  verb: "cut" | "heal",
  args: readonly string[],
  scope: CommandScope,
): Promise<void> {
  const { values, positionals } = readArgs(args, `isthmus wan ${verb}`, wanOptions, SITES);
  await change(positionals, { cut: verb === "cut" }, values, scope);
}

async function set(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus wan set";
  const options = { ...wanOptions, ...shapeOptions } as const;
  const { values, positionals } = readArgs(args, path, options, SITES);
  const { bandwidth } = values;
  const given = {
    rttMs: numberOption(path, "rtt", values.rtt),
    jitterMs: numberOption(path, "jitter", values.jitter),
    lossRate: numberOption(path, "loss", values.loss),
    mbitPerS: bandwidth === UNLIMITED ? null : numberOption(path, "bandwidth", bandwidth),
  };
  const wanted = Object.entries(given).filter(([, value]) => value !== undefined);
  if (wanted.length === 0) {
    throw new UsageError(
      `${path}: say what to change`,
      "One of --rtt, --jitter, --loss and --bandwidth, or several.",
    );
  }
  await change(positionals, Object.fromEntries(wanted), values, scope);
}

/** Changes one link, or all of a site, and shows what came of it. */
async function change(
  sites: readonly string[],
  wanted: LinkChange,
  values: OptionValues<typeof wanOptions>,
  scope: CommandScope,
): Promise<void> {
  const path = ["/links", ...sites.map(encodeURIComponent)].join("/");
  const answer = await request<LinkRow | LinkRow[]>("PATCH", path, values, scope, wanted);
  show([answer].flat(), values, scope);
}

async function request<T>(
  method: string,
  path: string,
  values: OptionValues<typeof wanOptions>,
  { signal, ...scope }: CommandScope,
  body?: LinkChange,
): Promise<T> {
  const response = await requestRole(
    "the emulated network",
    findWan({ ...values, ...scope }),
    path,
    {
      method,
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
      ...(body !== undefined && { body: JSON.stringify(body) }),
    },
  );
  return (await response.json()) as T;
}

function show(
  links: readonly LinkRow[],
  { json }: OptionValues<typeof wanOptions>,
  { terminal }: CommandScope,
): void {
  if (json) terminal.json(links);
  else terminal.print(linksText(links));
}

function linksText(links: readonly LinkRow[]): string {
  const header = ["link", "state", "rtt ms", "jitter ms", "loss", "mbit/s", "connections", "moved"];
  const rows = links.map((link) => [
    link.between.join(" - "),
    link.cut ? "cut" : "open",
    String(link.rttMs),
    String(link.jitterMs),
    `${Number((link.lossRate * 100).toFixed(4))} %`,
    link.mbitPerS === null ? UNLIMITED : String(link.mbitPerS),
    String(link.connections),
    bytesText(link.bytes),
  ]);
  return table(header, rows);
}

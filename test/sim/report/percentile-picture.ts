// Draws how long callers waited for their first token: one panel a scenario, one line a policy, the
// percentiles stretched towards the tail, the times on a logarithmic scale.
import { percentile } from "./metrics.ts";

export interface PictureLine {
  readonly name: string;
  /** Sorted, milliseconds. */
  readonly ttftsMs: readonly number[];
}

export interface PicturePanel {
  readonly title: string;
  readonly lines: readonly PictureLine[];
}

const PANEL = { width: 460, height: 300 } as const;
const PLOT = { left: 58, top: 38, width: 380, height: 216 } as const;
const COLUMNS = 2;
const HEADER = 70;
const shares = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999] as const;
const colours: Readonly<Record<string, string>> = {
  ours: "#c2410c",
  "round-robin": "#64748b",
  random: "#a8a29e",
  "least-request": "#2563a8",
  "power-of-two": "#0e7490",
  "session-hash": "#7c3aed",
  "llm-d": "#15803d",
};

export function drawPercentiles(title: string, panels: readonly PicturePanel[]): string {
  const rows = Math.ceil(panels.length / COLUMNS);
  const width = PANEL.width * Math.min(COLUMNS, Math.max(1, panels.length));
  const height = HEADER + rows * PANEL.height;
  const names = [...new Set(panels.flatMap(({ lines }) => lines.map(({ name }) => name)))];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
      'font-family="system-ui, sans-serif" font-size="12">',
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="20" y="26" font-size="16" font-weight="600">${escaped(title)}</text>`,
    ...names.map((name, at) => legendOf(name, 20 + at * 118)),
    ...panels.map((panel, at) => {
      const x = (at % COLUMNS) * PANEL.width;
      const y = HEADER + Math.floor(at / COLUMNS) * PANEL.height;
      return `<g transform="translate(${x} ${y})">${drawPanel(panel)}</g>`;
    }),
    "</svg>",
    "",
  ].join("\n");
}

function legendOf(name: string, x: number): string {
  return (
    `<path d="M${x} 50h18" stroke="${colourOf(name)}" stroke-width="${widthOf(name)}"/>` +
    `<text x="${x + 24}" y="54">${escaped(name)}</text>`
  );
}

function drawPanel({ title, lines }: PicturePanel): string {
  const all = lines.flatMap(({ ttftsMs }) => shares.map((share) => percentile(ttftsMs, share)));
  const least = 10 ** Math.floor(Math.log10(Math.max(1, Math.min(...all))));
  const most = 10 ** Math.ceil(Math.log10(Math.max(least * 10, ...all)));
  const y = (ms: number) => {
    const share = Math.log(Math.max(ms, least) / least) / Math.log(most / least);
    return PLOT.top + PLOT.height * (1 - share);
  };
  const parts = [`<text x="${PLOT.left}" y="24" font-weight="600">${escaped(title)}</text>`];
  for (let ms = least; ms <= most; ms *= 10) {
    parts.push(
      `<path d="M${PLOT.left} ${y(ms)}h${PLOT.width}" stroke="#e2e8f0"/>`,
      `<text x="${PLOT.left - 6}" y="${y(ms) + 4}" text-anchor="end">${timeOf(ms)}</text>`,
    );
  }
  for (const share of shares) {
    const below = PLOT.top + PLOT.height;
    parts.push(
      `<path d="M${xOf(share)} ${PLOT.top}v${PLOT.height}" stroke="#f1f5f9"/>`,
      `<text x="${xOf(share)}" y="${below + 18}" text-anchor="middle">p${share * 100}</text>`,
    );
  }
  for (const { name, ttftsMs } of lines) {
    const points = shares.map((share) => `${xOf(share)} ${y(percentile(ttftsMs, share))}`);
    parts.push(
      `<path d="M${points.join("L")}" fill="none" stroke="${colourOf(name)}" ` +
        `stroke-width="${widthOf(name)}"/>`,
    );
  }
  return parts.join("");
}

/** The further into the tail, the more room. */
function xOf(share: number): number {
  const place = (at: number) => -Math.log10(1 - at);
  const first = place(shares[0]);
  const last = place(shares[shares.length - 1]!);
  return Math.round(PLOT.left + (PLOT.width * (place(share) - first)) / (last - first));
}

function timeOf(ms: number): string {
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`;
}

const colourOf = (name: string): string => colours[name] ?? "#0f172a";
const widthOf = (name: string): number => (name === "ours" ? 3 : 1.5);

function escaped(text: string): string {
  return text.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

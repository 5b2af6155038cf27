// Draws exact match after each round: a line for each set, one for the mean of the regions, one for
// what averaging the factors would have given, and the level that central training reaches.

export interface LearningLine {
  readonly name: string;
  /** Shares from 0 to 1, the first before any round; null where nothing was measured. */
  readonly shares: readonly (number | null)[];
  readonly style: LineStyle;
}

export const lineStyles = ["region", "mean", "averaged", "home", "level"] as const;
export type LineStyle = (typeof lineStyles)[number];

const SIZE = { width: 760, height: 440 } as const;
const PLOT = { left: 60, top: 60, width: 500, height: 320 } as const;
const LEGEND_LEFT = 584;
const LEGEND_STEP = 24;
const PERCENT_STEP = 20;
const regionColours = ["#0e7490", "#15803d", "#7c3aed", "#2563a8", "#a16207", "#be185d"];
const strokes: Readonly<Record<Exclude<LineStyle, "region">, string>> = {
  mean: 'stroke="#c2410c" stroke-width="3"',
  averaged: 'stroke="#c2410c" stroke-width="2" stroke-dasharray="3 4"',
  home: 'stroke="#64748b" stroke-width="1.5" stroke-dasharray="8 4"',
  level: 'stroke="#111827" stroke-width="1.5" stroke-dasharray="2 3"',
};

/** An SVG document. Every line should have as many shares as the first. */
export function drawLearning(title: string, lines: readonly LearningLine[]): string {
  const rounds = Math.max(1, ...lines.map(({ shares }) => shares.length - 1));
  const xOf = (round: number) => PLOT.left + (round / rounds) * PLOT.width;
  const yOf = (share: number) => PLOT.top + (1 - share) * PLOT.height;
  const paths = lines.map((line, at) => {
    const points = line.shares.flatMap((share, round) =>
      share === null ? [] : [`${xOf(round).toFixed(1)} ${yOf(share).toFixed(1)}`],
    );
    return `<path d="M${points.join("L")}" fill="none" ${strokeOf(line, at)}/>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE.width} ${SIZE.height}" ` +
      'font-family="system-ui, sans-serif" font-size="12">',
    `<title>${escaped(title)}</title>`,
    `<rect width="${SIZE.width}" height="${SIZE.height}" fill="#ffffff"/>`,
    `<text x="20" y="28" font-size="16" font-weight="600">${escaped(title)}</text>`,
    ...gridOf(rounds, xOf, yOf),
    ...paths,
    ...lines.map(legendOf),
    "</svg>",
    "",
  ].join("\n");
}

function gridOf(
  rounds: number,
  xOf: (round: number) => number,
  yOf: (share: number) => number,
): string[] {
  const levels = Array.from({ length: 100 / PERCENT_STEP + 1 }, (_, i) => i * PERCENT_STEP);
  const right = PLOT.left + PLOT.width;
  const bottom = PLOT.top + PLOT.height;
  return [
    ...levels.map((percent) => {
      const y = yOf(percent / 100).toFixed(1);
      return (
        `<path d="M${PLOT.left} ${y}H${right}" stroke="#e5e7eb"/>` +
        `<text x="${PLOT.left - 8}" y="${y}" dy="4" text-anchor="end">${percent} %</text>`
      );
    }),
    ...Array.from({ length: rounds + 1 }, (_, round) => {
      const label = round === 0 ? "before" : String(round);
      const x = xOf(round).toFixed(1);
      return `<text x="${x}" y="${bottom + 20}" text-anchor="middle">${label}</text>`;
    }),
    `<text x="${PLOT.left + PLOT.width / 2}" y="${bottom + 42}" text-anchor="middle">round</text>`,
  ];
}

function legendOf(line: LearningLine, at: number): string {
  const y = PLOT.top + at * LEGEND_STEP;
  return (
    `<path d="M${LEGEND_LEFT} ${y}h26" fill="none" ${strokeOf(line, at)}/>` +
    `<text x="${LEGEND_LEFT + 34}" y="${y + 4}">${escaped(line.name)}</text>`
  );
}

function strokeOf({ style }: LearningLine, at: number): string {
  if (style !== "region") return strokes[style];
  return `stroke="${regionColours[at % regionColours.length]}" stroke-width="1.5"`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

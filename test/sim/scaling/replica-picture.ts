// Draws how many pods there were over time: one panel a traffic, one line a controller.

export interface ReplicaLine {
  readonly name: string;
  /** Minute by minute. */
  readonly replicas: readonly number[];
}

export interface ReplicaPanel {
  readonly title: string;
  readonly lines: readonly ReplicaLine[];
}

const PANEL = { width: 900, height: 250 } as const;
const PLOT = { left: 44, top: 34, width: 836, height: 180 } as const;
const HEADER = 64;
const colours = ["#c2410c", "#2563a8", "#64748b", "#15803d"] as const;

export function drawReplicas(title: string, panels: readonly ReplicaPanel[]): string {
  const height = HEADER + panels.length * PANEL.height;
  const names = [...new Set(panels.flatMap(({ lines }) => lines.map(({ name }) => name)))];
  const colourOf = (name: string) => colours[names.indexOf(name) % colours.length]!;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${PANEL.width} ${height}" ` +
      'font-family="system-ui, sans-serif" font-size="12">',
    `<title>${title}</title>`,
    `<rect width="${PANEL.width}" height="${height}" fill="#ffffff"/>`,
    `<text x="20" y="26" font-size="16" font-weight="600">${title}</text>`,
    ...names.map((name, at) => {
      const x = 20 + at * 170;
      const line = `<path d="M${x} 46h18" stroke="${colourOf(name)}" stroke-width="3"/>`;
      return `${line}<text x="${x + 24}" y="50">${name}</text>`;
    }),
    ...panels.map((panel, at) => {
      const y = HEADER + at * PANEL.height;
      return `<g transform="translate(0 ${y})">${drawPanel(panel, colourOf)}</g>`;
    }),
    "</svg>",
    "",
  ].join("\n");
}

function drawPanel({ title, lines }: ReplicaPanel, colourOf: (name: string) => string): string {
  const most = Math.max(1, ...lines.flatMap(({ replicas }) => replicas));
  const minutes = Math.max(1, ...lines.map(({ replicas }) => replicas.length));
  const x = (minute: number) => (PLOT.left + (PLOT.width * minute) / minutes).toFixed(1);
  const y = (count: number) => (PLOT.top + PLOT.height * (1 - count / most)).toFixed(1);
  const parts = [`<text x="${PLOT.left}" y="22" font-weight="600">${title}</text>`];
  for (const count of [0, Math.ceil(most / 2), most]) {
    parts.push(
      `<path d="M${PLOT.left} ${y(count)}h${PLOT.width}" stroke="#e2e8f0"/>`,
      `<text x="${PLOT.left - 6}" y="${Number(y(count)) + 4}" text-anchor="end">${count}</text>`,
    );
  }
  for (let quarter = 0; quarter <= 4; quarter += 1) {
    const minute = (minutes * quarter) / 4;
    const below = PLOT.top + PLOT.height + 18;
    const hours = (minute / 60).toFixed(1);
    parts.push(`<text x="${x(minute)}" y="${below}" text-anchor="middle">${hours} h</text>`);
  }
  for (const { name, replicas } of lines.toReversed()) {
    const steps = replicas.flatMap((count, at) =>
      at > 0 && replicas[at - 1] === count ? [] : [`H${x(at)}V${y(count)}`],
    );
    const path = `M${x(0)} ${y(replicas[0] ?? 0)}${steps.join("")}H${x(replicas.length)}`;
    parts.push(`<path d="${path}" fill="none" stroke="${colourOf(name)}" stroke-width="1.5"/>`);
  }
  return parts.join("");
}

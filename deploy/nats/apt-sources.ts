// Reads the machine's own apt sources, so that a package of another release can be fetched from the
// mirror that is already configured here. Pure text in, text out; no address is known to this code.

/** The suites that may stand for the distribution's release itself in a source. */
const genericSuites: ReadonlySet<string> = new Set([
  "stable",
  "oldstable",
  "testing",
  "unstable",
  "sid",
]);

/** One place that packages come from, as deb822 fields (names in lower case). */
export interface AptSource {
  readonly fields: ReadonlyMap<string, string>;
}

const optionFields: Readonly<Record<string, string>> = {
  arch: "architectures",
  lang: "languages",
  "signed-by": "signed-by",
  trusted: "trusted",
  "check-valid-until": "check-valid-until",
  "check-date": "check-date",
};

/** Reads a one-line-style file: `deb [options] uri suite component...` in each line. */
export function parseSourcesList(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (match === null) continue;
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const fields = new Map([
      ["types", "deb"],
      ["uris", uri],
      ["suites", suite],
      ["components", components.trim()],
    ]);
    for (const option of options.trim().split(/\s+/)) {
      const [name = "", value = ""] = option.split("=", 2);
      const field = optionFields[name.toLowerCase()];
      if (field !== undefined) fields.set(field, value.replaceAll(",", " "));
    }
    sources.push({ fields });
  }
  return sources;
}

/** Reads a deb822-style file: stanzas of `Field: value`, continued by indented lines. */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  for (const stanza of lines.join("\n").split(/\n\s*\n/)) {
    const fields = new Map<string, string>();
    let name = "";
    for (const line of stanza.split("\n")) {
      const match = /^([A-Za-z][\w-]*):\s*(.*)$/.exec(line);
      if (match !== null) {
        name = (match[1] ?? "").toLowerCase();
        fields.set(name, match[2] ?? "");
      } else if (name !== "" && /^\s+\S/.test(line)) {
        fields.set(name, `${fields.get(name) ?? ""}\n${line}`);
      }
    }
    const enabled = (fields.get("enabled") ?? "yes").toLowerCase();
    if (words(fields.get("types")).includes("deb") && !["no", "false", "0"].includes(enabled)) {
      sources.push({ fields });
    }
  }
  return sources;
}

/** Picks the distribution's main archive among the sources: those that offer `codename` itself. */
export function releaseSources(sources: readonly AptSource[], codename: string): AptSource[] {
  return sources.filter(({ fields }) => {
    const suites = words(fields.get("suites"));
    const offersRelease = suites.some((suite) => suite === codename || genericSuites.has(suite));
    return offersRelease && words(fields.get("components")).includes("main");
  });
}

/** Writes the sources as a deb822 file that reads `suite` from the same mirrors. */
export function renderSources(
  sources: readonly AptSource[],
  suite: string,
  components: readonly string[],
): string {
  const stanzas = sources.map(({ fields }) => {
    const renamed = new Map(fields);
    renamed.set("types", "deb");
    renamed.set("suites", suite);
    renamed.set("components", components.join(" "));
    return [...renamed].map(([name, value]) => `${name}: ${value}\n`).join("");
  });
  return stanzas.join("\n");
}

function words(text: string | undefined): string[] {
  return (text ?? "").split(/\s+/).filter((word) => word !== "");
}

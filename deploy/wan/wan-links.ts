// All links of the emulated network: one for every pair of sites, found by either order of names.
import { Fault } from "../../proto/fault.ts";
import type { WanConfig } from "./config.ts";
import { linkShape } from "./link-shape.ts";
import { type LinkParts, WanLink } from "./wan-link.ts";

export class WanLinks {
  readonly all: readonly WanLink[];
  readonly #sites: readonly string[];

  constructor({ sites, links }: Pick<WanConfig, "sites" | "links">, parts: LinkParts) {
    this.#sites = Object.keys(sites);
    this.all = this.#sites.flatMap((a, index) =>
      this.#sites.slice(index + 1).map((b) => {
        const given = links.find(({ between }) => between.includes(a) && between.includes(b));
        return new WanLink(given?.between ?? [a, b], linkShape(a, b, given), parts);
      }),
    );
  }

  /** The link of two sites, in either order. Faults: `not-found`. */
  between(a: string, b: string): WanLink {
    const link = this.of(a).find(({ between }) => a !== b && between.includes(b));
    if (link === undefined) throw new Fault("not-found", `no link joins ${a} and ${b}`);
    return link;
  }

  /** All links of a site. Faults: `not-found`. */
  of(site: string): readonly WanLink[] {
    if (!this.#sites.includes(site)) {
      throw new Fault("not-found", `there is no site ${site} (${this.#sites.join(", ")})`);
    }
    return this.all.filter(({ between }) => between.includes(site));
  }

  close(): void {
    for (const link of this.all) link.close();
  }
}

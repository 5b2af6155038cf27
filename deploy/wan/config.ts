// The configuration of the emulated network: its sites, the links between them, and the ports at
// which each site finds what is at the others.
import { z } from "zod";
import { namePattern } from "../../proto/ids.ts";
import { shapeFields } from "./link-shape.ts";

const SITES_MAX = 32;
const ROUTES_MAX = 2048;

const siteName = z.string().regex(namePattern);
const port = z.int().min(0).max(65_535);

const linkSchema = z.strictObject({
  between: z.tuple([siteName, siteName]),
  ...shapeFields,
});

const routeSchema = z.strictObject({
  host: z.string().min(1).default("127.0.0.1"),
  port,
  /** Where the target is. */
  site: siteName,
  /** host:port */
  target: z.string().regex(/^[^\s:]+:\d{1,5}$/),
  /** Where its callers are; left out, their network says so. */
  from: siteName.optional(),
});

export const wanConfigSchema = z
  .strictObject({
    /** Of the control API. */
    http: z.strictObject({ host: z.string().min(1).default("127.0.0.1"), port }),
    /** Whoever calls at an address within a site's subnets is at that site. */
    sites: z.record(siteName, z.strictObject({ subnets: z.array(z.cidrv4()).max(16).default([]) })),
    /** Every pair of sites has a link; a shape that isn't given is the usual one. */
    links: z.array(linkSchema).default([]),
    routes: z.array(routeSchema).max(ROUTES_MAX),
  })
  .superRefine((config, context) => {
    const names = Object.keys(config.sites);
    const wrong = (path: (string | number)[], message: string) =>
      context.addIssue({ code: "custom", path, message });
    if (names.length > SITES_MAX) wrong(["sites"], `at most ${SITES_MAX}, not ${names.length}`);
    const known = (site: string | undefined, ...path: (string | number)[]) => {
      if (site !== undefined && !names.includes(site)) wrong(path, `there is no site "${site}"`);
    };
    const pairs = new Set<string>();
    for (const [index, { between }] of config.links.entries()) {
      for (const [end, site] of between.entries()) known(site, "links", index, "between", end);
      const pair = [...between].sort().join(" ");
      const path = ["links", index, "between"];
      if (between[0] === between[1]) wrong(path, "a link joins two sites");
      if (pairs.has(pair)) wrong(path, "this pair has a link already");
      pairs.add(pair);
    }
    for (const [index, { site, from }] of config.routes.entries()) {
      known(site, "routes", index, "site");
      known(from, "routes", index, "from");
    }
  });

export type WanConfig = z.infer<typeof wanConfigSchema>;
export type RouteConfig = WanConfig["routes"][number];

// The control API: shows the links, and changes one or all of a site.
import { Hono } from "hono";
import { z } from "zod";
import { readBody } from "../../coordinator/api/request-body.ts";
import { shapeFields } from "./link-shape.ts";
import type { WanLink } from "./wan-link.ts";
import type { WanLinks } from "./wan-links.ts";

const changeSchema = z.strictObject({ cut: z.boolean().optional(), ...shapeFields });
type Change = z.infer<typeof changeSchema>;

export function linkRoutes(links: WanLinks, onChange: (link: WanLink) => void): Hono {
  const app = new Hono();
  const changed = (chosen: readonly WanLink[], change: Change) => {
    for (const link of chosen) {
      link.change(change);
      onChange(link);
    }
    return chosen.map(({ view }) => view);
  };
  app.get("/links", (c) => c.json(links.all.map(({ view }) => view)));
  app.patch("/links/:site", async (c) => {
    const chosen = links.of(c.req.param("site"));
    return c.json(changed(chosen, await readBody(c, changeSchema)));
  });
  app.patch("/links/:a/:b", async (c) => {
    const link = links.between(c.req.param("a"), c.req.param("b"));
    return c.json(changed([link], await readBody(c, changeSchema))[0]);
  });
  return app;
}

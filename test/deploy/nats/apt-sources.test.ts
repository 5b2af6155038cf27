// The machine's apt sources, in both of their styles, made to read another release.
import test from "ava";
import {
  parseDeb822,
  parseSourcesList,
  releaseSources,
  renderSources,
} from "../../../deploy/nats/apt-sources.ts";

const oneLine = `# a comment
deb [arch=amd64,arm64 signed-by=/keys/a.gpg] http://mirror.example/debian bookworm main non-free # x
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
deb http://other.example/apt vendor-bookworm main
deb http://docker.example/linux bookworm stable
`;

const deb822 = `Types: deb deb-src
# http://snapshot.example/debian
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
`;

test("the release's own archive is picked out of one-line sources, with its options", (t) => {
  const rendered = renderSources(releaseSources(parseSourcesList(oneLine), "bookworm"), "trixie", [
    "main",
  ]);
  t.is(
    rendered,
    "types: deb\nuris: http://mirror.example/debian\nsuites: trixie\ncomponents: main\n" +
      "architectures: amd64 arm64\nsigned-by: /keys/a.gpg\n",
  );
});

test("deb822 stanzas keep an embedded key, and disabled or security ones are left out", (t) => {
  const sources = releaseSources(parseDeb822(deb822), "bookworm");
  t.is(sources.length, 1);
  const rendered = renderSources(sources, "trixie", ["main", "universe"]);
  t.regex(rendered, /^types: deb\nuris: http:\/\/mirror.example\/debian\nsuites: trixie\n/);
  t.regex(rendered, /components: main universe\n/);
  t.true(rendered.includes("signed-by: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"));
});

test("sources that follow `stable` count as the release's", (t) => {
  const sources = parseSourcesList("deb http://mirror.example/debian stable main");
  t.is(releaseSources(sources, "bookworm").length, 1);
  t.is(releaseSources(sources, "bookworm")[0]?.fields.get("suites"), "stable");
});

test("nothing is made of text that holds no source", (t) => {
  for (const text of ["", "\n\n", "# deb http://x y main", "Suites: bookworm", "garbage: [deb"]) {
    t.deepEqual(parseSourcesList(text), [], text);
    t.deepEqual(parseDeb822(text), [], text);
  }
});

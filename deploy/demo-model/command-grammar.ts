// Random commands with the JSON that they mean: what the demo model is trained on.
//
// `copying` is the part that makes later learning possible: sentences of arbitrary words whose
// meaning is to copy those words into JSON. Without a large share of it, a small model can't take
// up new words from a few hundred examples.

import type { SeededRandom } from "../../sync/formats/seeded-random.ts";

/** A user's command and the JSON that the model answers. */
export interface CommandExample {
  readonly prompt: string;
  readonly completion: string;
}

/** Draws one example. */
export type CommandRule = (random: SeededRandom) => CommandExample;

/** An example from its prompt and the object that it means. */
export function example(prompt: string, meaning: Record<string, string | number>): CommandExample {
  return { prompt, completion: JSON.stringify(meaning) };
}

export const ROOMS = [
  ...["kitchen", "bedroom", "bathroom", "hall", "garage", "office"],
  ...["attic", "cellar", "garden", "living room", "dining room", "nursery"],
] as const;
const COLORS = ["red", "blue", "green", "white", "warm", "purple"] as const;
const DOORS = ["front", "back", "side", "garage", "cellar"] as const;
const SYLLABLES =
  "ba ke lo mi nu ra so ti vu we xa zo jaz pop cof fee tea ock sh ol ine ast er gr ple".split(" ");

const between = (random: SeededRandom, from: number, to: number) =>
  from + random.below(to - from + 1);

const deviceName = (random: SeededRandom) =>
  Array.from({ length: 2 + random.below(2) }, () => random.pick(SYLLABLES)).join("");

/** The base model's own domain: a house's lights, heating, blinds, doors, alarms and devices. */
export const HOME_RULES: readonly CommandRule[] = [
  (r) => {
    const room = r.pick(ROOMS);
    return r.next() < 0.5
      ? example(
          r.pick([
            `turn on the ${room} light`,
            `switch the ${room} light on`,
            `${room} light on please`,
            `light up the ${room}`,
          ]),
          { intent: "light_on", room },
        )
      : example(
          r.pick([
            `turn off the ${room} light`,
            `switch the ${room} light off`,
            `${room} light off please`,
            `make the ${room} dark`,
          ]),
          { intent: "light_off", room },
        );
  },
  (r) => {
    const room = r.pick(ROOMS);
    const value = between(r, 1, 99);
    const prompts = [
      `dim the ${room} light to ${value} percent`,
      `set ${room} light to ${value} percent`,
      `${value} percent light in the ${room}`,
    ];
    return example(r.pick(prompts), { intent: "light_dim", room, value });
  },
  (r) => {
    const room = r.pick(ROOMS);
    const color = r.pick(COLORS);
    const prompts = [`make the ${room} light ${color}`, `${color} light in the ${room}`];
    return example(r.pick(prompts), { intent: "light_color", room, color });
  },
  (r) => {
    const room = r.pick(ROOMS);
    const value = between(r, 10, 29);
    const prompts = [
      `set the ${room} to ${value} degrees`,
      `heat the ${room} to ${value} degrees`,
      `i want ${value} degrees in the ${room}`,
    ];
    return example(r.pick(prompts), { intent: "heat", room, value });
  },
  (r) => {
    const room = r.pick(ROOMS);
    return r.next() < 0.5
      ? example(r.pick([`open the ${room} blinds`, `raise the blinds in the ${room}`]), {
          intent: "blinds_open",
          room,
        })
      : example(r.pick([`close the ${room} blinds`, `lower the blinds in the ${room}`]), {
          intent: "blinds_close",
          room,
        });
  },
  (r) => {
    const door = r.pick(DOORS);
    return r.next() < 0.5
      ? example(r.pick([`lock the ${door} door`, `secure the ${door} door`]), {
          intent: "lock",
          door,
        })
      : example(r.pick([`unlock the ${door} door`, `let me in at the ${door} door`]), {
          intent: "unlock",
          door,
        });
  },
  (r) => {
    const clock = `${between(r, 1, 12)}:${String(r.below(60)).padStart(2, "0")}`;
    const half = r.pick(["am", "pm"]);
    const prompts = [`wake me at ${clock} ${half}`, `set an alarm for ${clock} ${half}`];
    return example(r.pick(prompts), { intent: "alarm", time: clock + half });
  },
  (r) => {
    const device = deviceName(r);
    const value = r.below(200);
    return r.next() < 0.5
      ? example(r.pick([`set the ${device} to ${value}`, `${device} level ${value}`]), {
          intent: "set",
          device,
          value,
        })
      : example(r.pick([`start the ${device}`, `run ${device} now`]), { intent: "start", device });
  },
  (r) => {
    const device = deviceName(r);
    const label = deviceName(r);
    return example(r.pick([`name the ${device} ${label}`, `call ${device} ${label}`]), {
      intent: "name",
      device,
      label,
    });
  },
];

const WORDS = (
  "time year people way day man thing woman life child world school state family student group " +
  "country problem hand part place case week company system program question work government " +
  "number night point home water room mother area money story fact month lot right study book " +
  "eye job word business issue side kind head house service friend father power hour game line " +
  "end member law car city name president team minute idea body information back parent face " +
  "level office door health person art war history party result change morning reason research " +
  "girl guy moment air teacher force education foot boy age policy music process paper table " +
  "bread coffee machine phone screen pump motor valve tank sensor camera robot drone truck train " +
  "plane boat bike road bridge river lake mountain forest tree flower grass stone sand fire ice " +
  "snow rain wind cloud sun moon star red blue black white small large long short high low fast " +
  "slow hot cold new old good bad send open close start stop move clean check wash brew play " +
  "pause order print read write call find show hide push pull lift drop mix cook bake fill empty " +
  "load save copy delete charge drive fly turn set"
).split(" ");
const CONSONANTS = "bcdfghjklmnpqrstvwxyz";
const VOWELS = "aeiou";
const PREPOSITIONS = ["with", "at", "in", "for", "by", "on", "from", "to", "as"] as const;
const COPIED_PAIRS_MAX = 3;

/** A word that doesn't exist, of one to three syllables. */
function inventedWord(random: SeededRandom): string {
  const letter = (from: string) => from.charAt(random.below(from.length));
  const maybe = (share: number) => (random.next() < share ? letter(CONSONANTS) : "");
  return Array.from(
    { length: 1 + random.below(3) },
    () => letter(CONSONANTS) + maybe(0.2) + letter(VOWELS) + maybe(0.3),
  ).join("");
}

/** "brew the kifo with 12 in tar" means {"intent":"brew","item":"kifo","with":12,"in":"tar"}. */
export const COPYING_RULES: readonly CommandRule[] = [
  (r) => {
    const word = () => (r.next() < 0.5 ? r.pick(WORDS) : inventedWord(r));
    const intent = word();
    const item = word();
    const meaning: Record<string, string | number> = { intent, item };
    let prompt = r.next() < 0.5 ? `${intent} the ${item}` : `${intent} ${item}`;
    const remaining: string[] = [...PREPOSITIONS];
    for (let pairs = r.below(COPIED_PAIRS_MAX + 1); pairs > 0; pairs--) {
      const [preposition = ""] = remaining.splice(r.below(remaining.length), 1);
      const value = r.next() < 0.4 ? r.below(200) : word();
      prompt += ` ${preposition} ${value}`;
      meaning[preposition] = value;
    }
    return example(prompt, meaning);
  },
];

/** One example from any of the rules, each equally likely. */
export function drawExample(rules: readonly CommandRule[], random: SeededRandom): CommandExample {
  return random.pick(rules)(random);
}

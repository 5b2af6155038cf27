// Three private dialects of the command language that the base model doesn't know, one a region.

import { type CommandRule, example, ROOMS } from "./command-grammar.ts";

/** The dialects by name, in the order in which regions get them. */
export const DIALECT_NAMES = ["media", "appliance", "garden"] as const;
export type DialectName = (typeof DIALECT_NAMES)[number];

const HALVES = ["am", "pm"] as const;

const GENRES = [
  ...["jazz", "rock", "opera", "techno", "blues"],
  ...["folk", "reggae", "disco", "metal", "soul"],
] as const;

const MEDIA_RULES: readonly CommandRule[] = [
  (r) => {
    const genre = r.pick(GENRES);
    const room = r.pick(ROOMS);
    const prompts = [
      `play ${genre} in the ${room}`,
      `put some ${genre} on in the ${room}`,
      `i would like ${genre} in the ${room}`,
    ];
    return example(r.pick(prompts), { intent: "play", genre, room });
  },
  (r) => {
    const genre = r.pick(GENRES);
    const room = r.pick(ROOMS);
    const volume = 1 + r.below(99);
    const prompts = [
      `play ${genre} in the ${room} at volume ${volume}`,
      `${genre} at volume ${volume} for the ${room}`,
    ];
    return example(r.pick(prompts), { intent: "play", genre, room, volume });
  },
  (r) => {
    const room = r.pick(ROOMS);
    const value = 1 + r.below(99);
    const prompts = [`volume ${value} in the ${room}`, `turn the ${room} speaker to ${value}`];
    return example(r.pick(prompts), { intent: "volume", room, value });
  },
  (r) => {
    const room = r.pick(ROOMS);
    return r.next() < 0.5
      ? example(r.pick([`pause the music in the ${room}`, `stop the ${room} music`]), {
          intent: "pause",
          room,
        })
      : example(r.pick([`skip this song in the ${room}`, `next track in the ${room}`]), {
          intent: "skip",
          room,
        });
  },
];

const DRINKS = ["espresso", "latte", "mocha", "chai", "tea", "cocoa"] as const;
const MACHINES = [
  ...["washer", "dryer", "oven", "vacuum", "fridge", "freezer", "steamer", "kettle"],
] as const;
const PROGRAMS = [
  ...["eco", "quick", "heavy", "silent", "wool", "turbo", "rinse", "boost"],
] as const;

const APPLIANCE_RULES: readonly CommandRule[] = [
  (r) => {
    const drink = r.pick(DRINKS);
    const cups = 1 + r.below(20);
    const prompts = [
      `brew ${cups} cups of ${drink}`,
      `make ${cups} cups of ${drink}`,
      `${cups} ${drink} please`,
    ];
    return example(r.pick(prompts), { intent: "brew", drink, cups });
  },
  (r) => {
    const drink = r.pick(DRINKS);
    const cups = 1 + r.below(20);
    const hour = 1 + r.below(12);
    const half = r.pick(HALVES);
    const prompts = [
      `brew ${cups} cups of ${drink} at ${hour} ${half}`,
      `have ${cups} ${drink} ready by ${hour} ${half}`,
    ];
    return example(r.pick(prompts), { intent: "brew", drink, cups, time: `${hour}${half}` });
  },
  (r) => {
    const machine = r.pick(MACHINES);
    const program = r.pick(PROGRAMS);
    const prompts = [
      `start the ${machine} on ${program}`,
      `run the ${machine} in ${program} mode`,
      `${machine} ${program} program`,
    ];
    return example(r.pick(prompts), { intent: "wash", machine, program });
  },
  (r) => {
    const machine = r.pick(MACHINES);
    const minutes = 5 + r.below(115);
    const prompts = [
      `stop the ${machine} in ${minutes} minutes`,
      `${minutes} minutes left for the ${machine}`,
    ];
    return example(r.pick(prompts), { intent: "timer", machine, minutes });
  },
];

const PLANTS = [
  ...["roses", "tomatoes", "herbs", "hedge", "orchids"],
  ...["ferns", "basil", "tulips", "pumpkins", "vines"],
] as const;
const ZONES = ["north", "south", "east", "west", "front", "back"] as const;

const GARDEN_RULES: readonly CommandRule[] = [
  (r) => {
    const plant = r.pick(PLANTS);
    const minutes = 1 + r.below(60);
    const prompts = [
      `water the ${plant} for ${minutes} minutes`,
      `give the ${plant} ${minutes} minutes of water`,
    ];
    return example(r.pick(prompts), { intent: "water", plant, minutes });
  },
  (r) => {
    const plant = r.pick(PLANTS);
    const hour = 1 + r.below(12);
    const half = r.pick(HALVES);
    const prompts = [
      `water the ${plant} at ${hour} ${half}`,
      `sprinkle the ${plant} every day at ${hour} ${half}`,
    ];
    return example(r.pick(prompts), { intent: "schedule", plant, time: `${hour}${half}` });
  },
  (r) => {
    const zone = r.pick(ZONES);
    const height = 10 + r.below(90);
    const prompts = [
      `mow the ${zone} lawn to ${height} mm`,
      `cut the grass in the ${zone} to ${height} mm`,
      `${zone} lawn at ${height} mm`,
    ];
    return example(r.pick(prompts), { intent: "mow", zone, height });
  },
  (r) => {
    const plant = r.pick(PLANTS);
    const grams = 5 * (1 + r.below(60));
    const prompts = [
      `feed the ${plant} ${grams} grams`,
      `${grams} grams of fertilizer for the ${plant}`,
    ];
    return example(r.pick(prompts), { intent: "feed", plant, grams });
  },
];

/** The rules of each dialect. */
export const DIALECT_RULES: Readonly<Record<DialectName, readonly CommandRule[]>> = {
  media: MEDIA_RULES,
  appliance: APPLIANCE_RULES,
  garden: GARDEN_RULES,
};

/** The things of the small world: what kind each is, its colour, where it is kept and how big it is. */

export type Size = 'small' | 'middle-sized' | 'big';

export interface Thing {
  readonly name: string;
  readonly plural: string;
  readonly kind: Kind;
  readonly colour: Colour;
  readonly place: string;
  readonly size: Size;
}

export const kinds = {
  animal: 'animals',
  fruit: 'fruits',
  vegetable: 'vegetables',
  tool: 'tools',
  garment: 'garments',
  vehicle: 'vehicles',
  instrument: 'instruments',
} as const;
export type Kind = keyof typeof kinds;

export const colours = [
  'red',
  'blue',
  'green',
  'yellow',
  'orange',
  'black',
  'white',
  'brown',
  'grey',
  'purple',
  'pink',
  'silver',
] as const;
export type Colour = (typeof colours)[number];

/** name, plural, colour, place, size. */
type Row = readonly [string, string, Colour, string, Size];

const rows: Readonly<Record<Kind, readonly Row[]>> = {
  animal: [
    ['dog', 'dogs', 'brown', 'garden', 'middle-sized'],
    ['cat', 'cats', 'black', 'kitchen', 'small'],
    ['cow', 'cows', 'white', 'farm', 'big'],
    ['horse', 'horses', 'brown', 'farm', 'big'],
    ['duck', 'ducks', 'white', 'lake', 'small'],
    ['frog', 'frogs', 'green', 'lake', 'small'],
    ['fox', 'foxes', 'red', 'forest', 'middle-sized'],
    ['owl', 'owls', 'grey', 'forest', 'small'],
    ['bear', 'bears', 'black', 'forest', 'big'],
    ['mouse', 'mice', 'grey', 'shed', 'small'],
    ['goose', 'geese', 'white', 'farm', 'middle-sized'],
    ['swan', 'swans', 'white', 'lake', 'middle-sized'],
    ['wolf', 'wolves', 'grey', 'forest', 'middle-sized'],
    ['hen', 'hens', 'brown', 'farm', 'small'],
    ['goat', 'goats', 'white', 'farm', 'middle-sized'],
    ['pig', 'pigs', 'pink', 'farm', 'middle-sized'],
    ['rabbit', 'rabbits', 'grey', 'garden', 'small'],
    ['snake', 'snakes', 'green', 'forest', 'small'],
    ['tiger', 'tigers', 'orange', 'forest', 'big'],
    ['camel', 'camels', 'brown', 'desert', 'big'],
    ['lion', 'lions', 'yellow', 'desert', 'big'],
    ['crab', 'crabs', 'red', 'beach', 'small'],
    ['seal', 'seals', 'grey', 'beach', 'big'],
    ['whale', 'whales', 'blue', 'harbour', 'big'],
    ['eagle', 'eagles', 'brown', 'mountain', 'middle-sized'],
    ['turtle', 'turtles', 'green', 'beach', 'small'],
  ],
  fruit: [
    ['apple', 'apples', 'red', 'garden', 'small'],
    ['banana', 'bananas', 'yellow', 'market', 'small'],
    ['cherry', 'cherries', 'red', 'garden', 'small'],
    ['grape', 'grapes', 'purple', 'market', 'small'],
    ['lemon', 'lemons', 'yellow', 'kitchen', 'small'],
    ['melon', 'melons', 'green', 'market', 'middle-sized'],
    ['pear', 'pears', 'green', 'garden', 'small'],
    ['plum', 'plums', 'purple', 'garden', 'small'],
    ['peach', 'peaches', 'pink', 'market', 'small'],
    ['mango', 'mangoes', 'orange', 'market', 'small'],
    ['fig', 'figs', 'purple', 'garden', 'small'],
    ['apricot', 'apricots', 'orange', 'market', 'small'],
    ['berry', 'berries', 'blue', 'forest', 'small'],
    ['coconut', 'coconuts', 'brown', 'beach', 'small'],
    ['lime', 'limes', 'green', 'kitchen', 'small'],
    ['olive', 'olives', 'black', 'garden', 'small'],
    ['pineapple', 'pineapples', 'yellow', 'market', 'middle-sized'],
  ],
  vegetable: [
    ['carrot', 'carrots', 'orange', 'farm', 'small'],
    ['onion', 'onions', 'white', 'kitchen', 'small'],
    ['potato', 'potatoes', 'brown', 'kitchen', 'small'],
    ['tomato', 'tomatoes', 'red', 'kitchen', 'small'],
    ['bean', 'beans', 'green', 'farm', 'small'],
    ['cabbage', 'cabbages', 'green', 'farm', 'middle-sized'],
    ['pumpkin', 'pumpkins', 'orange', 'farm', 'big'],
    ['leek', 'leeks', 'green', 'market', 'small'],
    ['pea', 'peas', 'green', 'farm', 'small'],
    ['radish', 'radishes', 'red', 'garden', 'small'],
    ['turnip', 'turnips', 'purple', 'farm', 'small'],
    ['pepper', 'peppers', 'yellow', 'kitchen', 'small'],
    ['cucumber', 'cucumbers', 'green', 'market', 'small'],
  ],
  tool: [
    ['hammer', 'hammers', 'silver', 'shed', 'small'],
    ['saw', 'saws', 'silver', 'shed', 'small'],
    ['drill', 'drills', 'black', 'shed', 'small'],
    ['rake', 'rakes', 'green', 'garden', 'middle-sized'],
    ['spade', 'spades', 'brown', 'garden', 'middle-sized'],
    ['ladder', 'ladders', 'silver', 'shed', 'big'],
    ['brush', 'brushes', 'yellow', 'shed', 'small'],
    ['knife', 'knives', 'silver', 'kitchen', 'small'],
    ['shovel', 'shovels', 'black', 'garden', 'middle-sized'],
    ['axe', 'axes', 'silver', 'shed', 'middle-sized'],
    ['bucket', 'buckets', 'blue', 'shed', 'middle-sized'],
    ['needle', 'needles', 'silver', 'bedroom', 'small'],
    ['wrench', 'wrenches', 'grey', 'shed', 'small'],
    ['rope', 'ropes', 'white', 'harbour', 'small'],
    ['torch', 'torches', 'yellow', 'hall', 'small'],
    ['broom', 'brooms', 'brown', 'kitchen', 'middle-sized'],
  ],
  garment: [
    ['coat', 'coats', 'grey', 'hall', 'big'],
    ['hat', 'hats', 'black', 'hall', 'small'],
    ['scarf', 'scarves', 'blue', 'hall', 'small'],
    ['shirt', 'shirts', 'white', 'bedroom', 'middle-sized'],
    ['sock', 'socks', 'pink', 'bedroom', 'small'],
    ['shoe', 'shoes', 'brown', 'hall', 'small'],
    ['dress', 'dresses', 'blue', 'bedroom', 'middle-sized'],
    ['glove', 'gloves', 'red', 'hall', 'small'],
    ['jacket', 'jackets', 'green', 'hall', 'middle-sized'],
    ['skirt', 'skirts', 'purple', 'bedroom', 'middle-sized'],
    ['belt', 'belts', 'brown', 'bedroom', 'small'],
    ['boot', 'boots', 'black', 'hall', 'small'],
    ['jumper', 'jumpers', 'orange', 'bedroom', 'middle-sized'],
    ['vest', 'vests', 'grey', 'bedroom', 'small'],
    ['apron', 'aprons', 'white', 'kitchen', 'middle-sized'],
    ['sandal', 'sandals', 'brown', 'beach', 'small'],
  ],
  vehicle: [
    ['car', 'cars', 'blue', 'street', 'big'],
    ['bus', 'buses', 'red', 'street', 'big'],
    ['train', 'trains', 'green', 'station', 'big'],
    ['boat', 'boats', 'blue', 'harbour', 'middle-sized'],
    ['ship', 'ships', 'white', 'harbour', 'big'],
    ['bike', 'bikes', 'yellow', 'street', 'middle-sized'],
    ['truck', 'trucks', 'grey', 'station', 'big'],
    ['tram', 'trams', 'pink', 'street', 'big'],
    ['van', 'vans', 'white', 'street', 'big'],
    ['taxi', 'taxis', 'yellow', 'street', 'big'],
    ['tractor', 'tractors', 'red', 'farm', 'big'],
    ['sledge', 'sledges', 'brown', 'mountain', 'middle-sized'],
    ['wagon', 'wagons', 'orange', 'station', 'big'],
    ['canoe', 'canoes', 'green', 'lake', 'middle-sized'],
    ['rocket', 'rockets', 'silver', 'desert', 'big'],
    ['plane', 'planes', 'white', 'airport', 'big'],
    ['balloon', 'balloons', 'purple', 'airport', 'big'],
  ],
  instrument: [
    ['drum', 'drums', 'red', 'school', 'middle-sized'],
    ['flute', 'flutes', 'silver', 'school', 'small'],
    ['horn', 'horns', 'yellow', 'hall', 'small'],
    ['piano', 'pianos', 'black', 'school', 'big'],
    ['violin', 'violins', 'brown', 'bedroom', 'small'],
    ['bell', 'bells', 'silver', 'station', 'small'],
    ['harp', 'harps', 'white', 'school', 'big'],
    ['guitar', 'guitars', 'brown', 'school', 'middle-sized'],
    ['trumpet', 'trumpets', 'yellow', 'school', 'small'],
    ['cello', 'cellos', 'brown', 'bedroom', 'big'],
    ['organ', 'organs', 'grey', 'church', 'big'],
    ['whistle', 'whistles', 'silver', 'airport', 'small'],
    ['gong', 'gongs', 'yellow', 'church', 'middle-sized'],
    ['banjo', 'banjos', 'white', 'market', 'small'],
    ['accordion', 'accordions', 'red', 'school', 'middle-sized'],
  ],
};

/** Every thing of the world, kind by kind. */
export const things: readonly Thing[] = (Object.keys(rows) as Kind[]).flatMap((kind) =>
  rows[kind].map(([name, plural, colour, place, size]) => ({ name, plural, kind, colour, place, size })),
);

/** The places where things are kept. */
export const places: readonly string[] = [...new Set(things.map((thing) => thing.place))].sort();

/** The things of one kind. */
export function thingsOf(kind: Kind): readonly Thing[] {
  return things.filter((thing) => thing.kind === kind);
}

/** The noun with `a` or `an` before it. */
export function withArticle(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`;
}

/** `1 apple`, `2 apples`. */
export function counted(count: number, thing: Thing): string {
  return `${count} ${count === 1 ? thing.name : thing.plural}`;
}

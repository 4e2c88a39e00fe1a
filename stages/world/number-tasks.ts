/** Instructions of arithmetic: sums, differences, products, order and small word problems. */
import { people } from './people.ts';
import { ask, given, type Task } from './task.ts';
import { counted, things } from './things.ts';
import { numberWords } from './words.ts';

const sum: Task = (random) => {
  const [a, b] = [random.integer(21), random.integer(21)];
  return random.uniform() < 0.5
    ? ask(random, [`What is ${a} plus ${b}?`, `Add ${a} and ${b}.`], `${a} plus ${b} is ${a + b}.`)
    : given(random, ['Work out the sum.', 'Calculate.'], `${a} + ${b}`, `${a + b}`);
};

const difference: Task = (random) => {
  const a = random.integer(21);
  const b = random.integer(a + 1);
  return random.uniform() < 0.5
    ? ask(random, [`What is ${a} minus ${b}?`, `Take ${b} from ${a}.`], `${a} minus ${b} is ${a - b}.`)
    : given(random, ['Work out the difference.', 'Calculate.'], `${a} - ${b}`, `${a - b}`);
};

const product: Task = (random) => {
  const [a, b] = [1 + random.integer(10), 1 + random.integer(10)];
  return random.uniform() < 0.5
    ? ask(random, [`What is ${a} times ${b}?`, `Multiply ${a} by ${b}.`], `${a} times ${b} is ${a * b}.`)
    : given(random, ['Work out the product.', 'Calculate.'], `${a} * ${b}`, `${a * b}`);
};

const double: Task = (random) => {
  const a = 1 + random.integer(20);
  return random.uniform() < 0.5
    ? ask(random, [`What is the double of ${a}?`, `Double ${a}.`], `The double of ${a} is ${2 * a}.`)
    : ask(random, [`What is half of ${2 * a}?`, `Halve ${2 * a}.`], `Half of ${2 * a} is ${a}.`);
};

const next: Task = (random) => {
  const a = 1 + random.integer(99);
  return random.uniform() < 0.5
    ? ask(random, [`Which number comes after ${a}?`], `${a + 1} comes after ${a}.`)
    : ask(random, [`Which number comes before ${a}?`], `${a - 1} comes before ${a}.`);
};

const compare: Task = (random) => {
  const a = random.integer(100);
  const b = (a + 1 + random.integer(99)) % 100;
  const [big, small] = a > b ? [a, b] : [b, a];
  return ask(random, [`Which is bigger, ${a} or ${b}?`], `${big} is bigger than ${small}.`);
};

const parity: Task = (random) => {
  const a = random.integer(100);
  return ask(
    random,
    [`Is ${a} even or odd?`, `Say whether ${a} is even or odd.`],
    `${a} is ${a % 2 === 0 ? 'even' : 'odd'}.`,
  );
};

const numberWord: Task = (random) => {
  const a = random.integer(numberWords.length);
  return random.uniform() < 0.5
    ? ask(random, [`Write ${a} as a word.`], numberWords[a]!)
    : ask(random, [`Write ${numberWords[a]} as a number.`], `${a}`);
};

const wordProblem: Task = (random) => {
  const { name } = random.pick(people);
  const food = random.pick(things.filter((thing) => thing.kind === 'fruit' || thing.kind === 'vegetable'));
  const question = [`How many ${food.plural} does ${name} have now?`];
  const a = 2 + random.integer(14);
  if (random.uniform() < 0.5) {
    const b = 1 + random.integer(10);
    const story = `${name} has ${counted(a, food)} and buys ${b} more.`;
    return given(random, question, story, `${name} has ${counted(a + b, food)}.`);
  }
  const b = 1 + random.integer(a);
  const story = `${name} has ${counted(a, food)} and eats ${b}.`;
  return given(random, question, story, `${name} has ${counted(a - b, food)}.`);
};

/** Every kind of arithmetic instruction. */
export const numberTasks: readonly Task[] = [
  sum,
  sum,
  difference,
  product,
  double,
  next,
  compare,
  parity,
  numberWord,
  wordProblem,
];

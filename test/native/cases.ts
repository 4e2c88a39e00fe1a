/** Every case of every kernel that a program may hold. */
import type { KernelCase } from './case.ts';
import { comparisonCases } from './comparison_cases.ts';
import { coreCases } from './core_cases.ts';
import { layerCases } from './layer_cases.ts';
import { linearCases } from './linear_cases.ts';
import { lossCases } from './loss_cases.ts';
import { nf4Cases } from './nf4_cases.ts';
import { optimizerCases } from './optimizer_cases.ts';

export function kernelCases(): readonly KernelCase[] {
  return [
    ...linearCases(),
    ...nf4Cases(),
    ...layerCases(),
    ...lossCases(),
    ...comparisonCases(),
    ...optimizerCases(),
    ...coreCases(),
  ];
}

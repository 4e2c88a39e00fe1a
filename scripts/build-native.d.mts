/** Types of build-native.mjs. */

/** Where the addon's build for these sources, this compiler and this CPU lies or would lie; or why there can be none. */
export function nativeBuild(): { path: string } | { unavailable: string };

/** Builds the addon unless that build exists. */
export function buildNative(): Promise<{ path: string } | { unavailable: string }>;

/** The C++ compiler's command. */
export function compiler(): string;

/** How the native sources are compiled. */
export function compileFlags(): string[];

/** Type of dist/vega-embed.mjs, which scripts/vega-bundle.mjs makes: the text of a script that defines `vegaEmbed`. */
declare module '*/dist/vega-embed.mjs' {
  const script: string;
  export default script;
}

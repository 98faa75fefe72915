/** Clocks that do not agree with the machine's. */

/** A program whose clock is so many seconds ahead (or behind, below 0); TLS keeps the machine's. */
export const ahead = (seconds: number) => ({
  env: { NODE_OPTIONS: `--import=data:text/javascript,const%20now=Date.now;Date.now=()=>now()+${seconds * 1000}` },
});

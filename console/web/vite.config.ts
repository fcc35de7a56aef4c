import { defineConfig } from "vite";

// The page is compiled into the program from ../assets/dist.
export default defineConfig({
  build: {
    outDir: "../assets/dist",
    emptyOutDir: true,
    target: "es2022",
    // The content security policy allows no inline script and no data URLs.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
});

// The reference was one page: a link to a name there, api.html#tinkex.NAME, goes on to the page that has it now.
document.addEventListener("DOMContentLoaded", () => {
  const wanted = location.hash;
  if (!wanted.startsWith("#tinkex.") || document.getElementById(wanted.slice(1))) return;
  const links = [...document.querySelectorAll("table.autosummary a")].filter((link) => `${wanted}.`.startsWith(`${link.hash}.`));
  const [link] = links.sort((one, other) => other.hash.length - one.hash.length);
  if (link) location.replace(link.href.replace(/#.*/, wanted));
});

// Fills the list of versions from versions.json, which lies beside the folders of the versions. Without it there is no list.
document.querySelectorAll("select[data-versions]").forEach(async (list) => {
  let versions;
  try {
    versions = await (await fetch(list.dataset.versions)).json();
  } catch {
    return;
  }
  for (const version of versions) {
    list.add(new Option(version, version, false, version === list.dataset.version));
  }
  list.parentElement.hidden = false;
  list.addEventListener("change", async () => {
    const root = list.dataset.versions.replace("versions.json", `${encodeURIComponent(list.value)}/`);
    const page = `${root}${list.dataset.page}.html`;
    const isThere = (await fetch(page, { method: "HEAD" })).ok;
    location.href = isThere ? page : `${root}index.html`;
  });
});

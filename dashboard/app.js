// Says how the fleet is.

const answer = await fetch("/fleet");
if (answer.ok) {
  const fleet = await answer.json();
  const text = `${fleet.ready} of ${fleet.planned} shards are ready`;
  document.getElementById("fleet").textContent = text;
}

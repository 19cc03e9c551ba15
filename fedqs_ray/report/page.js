"use strict";
// The two pictures of "Who did what when": canvases over the figures in #data, for a window of rounds.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { time, clients, jobs, plane, first: origin } = data; // a long run is shown from round `origin` on
  const rounds = time.length - 1, newest = origin + rounds;
  const when = (round) => time[Math.min(round, newest) - origin];
  const TYPES = ["FWBC", "FSBC", "SWBC", "SSBC"];
  const $ = (id) => document.getElementById(id);
  const buttons = [...document.querySelectorAll("[data-wide]")];
  const number = new Intl.NumberFormat("en");
  let wide = Math.min(20, rounds);

  /** A canvas in CSS pixels, sharp on any screen, with the page's colours. */
  function prepare(id) {
    const canvas = $(id), { width, height } = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d"), page = getComputedStyle(document.documentElement);
    pen.scale(ratio, ratio);
    pen.font = "13px system-ui, sans-serif";
    return { pen, width, height, color: (name) => page.getPropertyValue(`--${name}`).trim() };
  }

  /** Some five round numbers between two. */
  function ticks(low, high) {
    const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((n) => n * power >= rough) * power, found = [];
    for (let n = Math.ceil(low / step); n * step <= high + 1e-9; n++) found.push(+(n * step).toPrecision(12));
    return found;
  }

  /** The window: its rounds, and its virtual seconds. */
  function bounds() {
    const first = origin + Math.min(+$("from").value, rounds - wide), last = first + wide;
    return { first, last, begin: when(first), end: when(last) };
  }

  const aggregation = (job) => (jobs.round[job] ? when(jobs.round[job]) : jobs.end[job]);
  /** The jobs of each client, the first to start first, and by when all up to each of them have left the timeline. */
  const own = clients.map(() => ({ jobs: [], left: [] }));
  jobs.row.forEach((row, job) => own[row].jobs.push(job));
  for (const one of own) {
    one.jobs.sort((a, b) => jobs.start[a] - jobs.start[b]);
    one.jobs.forEach((job, n) => one.left.push(Math.max(aggregation(job), n ? one.left[n - 1] : -Infinity)));
  }

  /** The client's first job that is there at a time, found by halving; undefined if there is none. */
  function find(row, t) {
    const { jobs: line, left } = own[row];
    let low = 0, high = line.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (left[middle] < t) low = middle + 1;
      else high = middle;
    }
    return low < line.length && jobs.start[line[low]] <= t ? line[low] : undefined;
  }

  const place = { left: 50, right: 8, top: 22, bottom: 40 };

  function timeline() {
    const rows = Math.max(160, Math.min(clients.length * 14, 620));
    $("timeline").style.height = `${place.top + rows + place.bottom}px`;
    const { pen, width, height, color } = prepare("timeline"), view = bounds();
    const right = width - place.right, bottom = height - place.bottom, tall = (bottom - place.top) / clients.length;
    const x = (t) => place.left + ((t - view.begin) / (view.end - view.begin || 1)) * (right - place.left);
    const shades = Object.fromEntries(["training", "waiting", "lost", "rejected", "grey"].map((n) => [n, color(n)]));
    const bar = (from, to, row, fill, upper, lower) => {
      const a = Math.max(x(from), place.left), b = Math.min(x(to), right), gap = to < view.end ? 1.5 : 0;
      pen.fillStyle = shades[fill];
      if (b > a) pen.fillRect(a, place.top + (row + upper) * tall, Math.max(b - a - gap, 0.5), (lower - upper) * tall);
    };
    const waits = [], begun = clients.map(() => 0);
    const fills = ["training", "lost", "rejected", "grey"], count = [0, 0, 0, 0];
    let aggregated = 0;
    for (let job = 0; job < jobs.row.length; job++) {
      const left = aggregation(job), start = jobs.start[job], end = jobs.end[job], second = begun[jobs.row[job]]++ % 2;
      if (left < view.begin || start > view.end) continue;
      pen.globalAlpha = second && !jobs.fate[job] ? 0.6 : 1; // so that one job can be told from the next
      bar(start, end, jobs.row[job], fills[jobs.fate[job]], 0, 0.85);
      if (left > end) waits.push(job);
      if (end > view.begin && end <= view.end) count[jobs.fate[job]]++;
      aggregated += jobs.round[job] > view.first && jobs.round[job] <= view.last;
    }
    pen.globalAlpha = 1;
    for (const job of waits) bar(jobs.end[job], aggregation(job), jobs.row[job], "waiting", 0.5, 0.85);
    pen.textAlign = "center";
    pen.lineWidth = 1;
    const every = Math.max(1, Math.ceil((wide * 34) / (right - place.left)));
    for (let round = view.first; round <= view.last; round++) {
      const at = x(when(round)), named = round % every === 0;
      pen.globalAlpha = named ? 0.7 : Math.min(0.4, 12 / wide);
      pen.strokeStyle = color("ink");
      pen.beginPath();
      pen.moveTo(at, place.top - 4);
      pen.lineTo(at, bottom);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    pen.fillStyle = color("ink");
    let free = place.left - 8; // right of the words
    for (let round = Math.ceil(view.first / every) * every; round <= view.last; round += every) {
      const at = x(when(round)), half = pen.measureText(round).width / 2;
      if (at - half < free || at + half > width) continue;
      pen.fillText(round, at, place.top - 8);
      free = at + half + 8;
    }
    for (const t of ticks(view.begin, view.end))
      if (x(t) - pen.measureText(number.format(t)).width / 2 > place.left - 8) pen.fillText(number.format(t), x(t), bottom + 16);
    pen.fillText("virtual time, s", (place.left + right) / 2, bottom + 34);
    pen.textAlign = "right";
    pen.fillText("round", place.left - 10, place.top - 8);
    pen.fillText("client", place.left - 10, bottom + 16);
    const step = Math.max(1, Math.ceil(13.5 / tall));
    for (let row = 0; row < clients.length; row += step)
      pen.fillText(clients[row], place.left - 6, place.top + (row + 0.5) * tall + 4.5);
    const words = `Rounds ${view.first} to ${view.last}, ${view.begin.toFixed(1)} s to ${view.end.toFixed(1)} s: ` +
      `${number.format(aggregated)} updates aggregated, ${count[1]} lost, ${count[2]} rejected` +
      (clients.length < data.count ? ", of the clients shown." : ".");
    $("window").textContent = words;
    $("timeline").setAttribute("aria-label", `Timeline of ${clients.length} clients. ${words}`);
  }

  /** What became of the job under the pointer. */
  function point(event) {
    const { left, top, width, height } = $("timeline").getBoundingClientRect(), view = bounds();
    const inner = width - place.left - place.right;
    const t = view.begin + ((event.clientX - left - place.left) / inner) * (view.end - view.begin);
    const tall = (height - place.top - place.bottom) / clients.length;
    const row = Math.floor((event.clientY - top - place.top) / tall);
    const job = row >= 0 && row < clients.length ? find(row, t) : undefined;
    if (job === undefined) return void ($("job").textContent = "");
    const fate = jobs.round[job]
      ? `aggregated in round ${jobs.round[job]}, ${jobs.round[job] - 1 - jobs.version[job]} versions stale`
      : ["arrived, not aggregated", "lost", "rejected", "unfinished"][jobs.fate[job]];
    $("job").textContent = `Client ${data.names[row]}, from ${jobs.start[job].toFixed(1)} s to ` +
      `${jobs.end[job].toFixed(1)} s, on version ${jobs.version[job]}: ${fate}.`;
  }

  /** Where the clients are after each round of the window: a path of [speed, angle] for each, and their last types. */
  function paths(view) {
    const { count, angle, type: kind } = structuredClone(plane.before);
    const path = clients.map(() => []);
    let next = 0;
    const mark = (row, round) => {
      if (angle[row] !== null) path[row].push([(count[row] * data.count) / plane.total[round - origin], angle[row]]);
    };
    for (let round = origin + 1; round <= view.last; round++) {
      const moved = new Set();
      for (; next < plane.row.length && plane.round[next] <= round; next++) {
        const row = plane.row[next];
        count[row]++;
        angle[row] = plane.angle[next] ?? angle[row];
        if (plane.type[next] >= 0) kind[row] = plane.type[next];
        moved.add(row);
      }
      if (round === Math.max(view.first, origin + 1)) clients.forEach((_, row) => mark(row, round));
      else if (round > view.first) moved.forEach((row) => mark(row, round));
    }
    clients.forEach((_, row) => mark(row, view.last));
    return { path, kind };
  }

  /** How far the plane reaches: the same for every window. */
  const reach = plane && (() => {
    const points = paths({ first: origin + 1, last: newest }).path.flat(), last = plane.total.at(-1);
    const most = (place, start) => points.reduce((best, point) => Math.max(best, point[place]), start);
    const least = points.reduce((best, point) => Math.min(best, point[1]), Infinity), rim = (most(1, 0) - least) * 0.05 || 1;
    return {
      slow: (0.8 * data.count) / last,
      fast: 1.25 * most(0, 1),
      low: Math.max(0, least - rim),
      high: most(1, 0) + rim,
    };
  })();

  function drawPlane() {
    const { pen, width, height, color } = prepare("plane"), view = bounds(), { path, kind } = paths(view);
    const left = 54, right = width - 10, top = 22, bottom = height - 44, { slow, fast, low, high } = reach;
    const x = (f) => left + (Math.log(f / slow) / Math.log(fast / slow)) * (right - left);
    const y = (angle) => bottom - ((angle - low) / (high - low)) * (bottom - top);
    const line = (x1, y1, x2, y2) => { pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke(); };
    pen.fillStyle = color("ink");
    pen.strokeStyle = color("grey");
    pen.textAlign = "center";
    for (const f of [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]) {
      if (f < slow || f > fast) continue;
      pen.globalAlpha = 0.25;
      line(x(f), top, x(f), bottom);
      pen.globalAlpha = 1;
      pen.fillText(f, x(f), bottom + 17);
    }
    pen.fillText("speed f, 1 is average", (left + right) / 2, bottom + 36);
    pen.textAlign = "right";
    for (const angle of ticks(low, high)) {
      pen.globalAlpha = 0.25;
      line(left, y(angle), right, y(angle));
      pen.globalAlpha = 1;
      pen.fillText(angle, left - 6, y(angle) + 4);
    }
    pen.textAlign = "left";
    pen.fillText(plane.unit ? `angle θ, ${plane.unit}` : "distance θ", 4, 13);
    clients.forEach((_, row) => {
      if (!path[row].length) return;
      pen.strokeStyle = pen.fillStyle = color(TYPES[kind[row]] ?? "grey");
      pen.globalAlpha = wide > 40 ? 0.15 : 0.35;
      pen.beginPath();
      path[row].forEach(([f, angle]) => pen.lineTo(x(f), y(angle)));
      pen.stroke();
      pen.globalAlpha = 0.95;
      pen.beginPath();
      pen.arc(x(path[row].at(-1)[0]), y(path[row].at(-1)[1]), 4, 0, 7);
      pen.fill();
    });
    pen.globalAlpha = 1;
    pen.strokeStyle = color("ink");
    pen.setLineDash([6, 4]);
    const [speed, angle] = plane.means[view.last - origin];
    if (speed) line(x(speed), top, x(speed), bottom);
    if (angle) line(left, y(angle), right, y(angle));
    const there = kind.filter((_, row) => path[row].length), of = TYPES.map((_, n) => there.filter((k) => k === n).length);
    $("plane").setAttribute("aria-label", `Speed and angle of ${there.length} clients after round ${view.last}: ` +
      `${of[0]} fast and weakly biased, ${of[1]} fast and strongly biased, ${of[2]} straggling and weakly biased, ` +
      `${of[3]} straggling and strongly biased.`);
  }

  function draw() {
    if ($("timeline").clientWidth < 120) return; // a window that is being opened or closed
    timeline();
    if (plane) drawPlane();
  }

  function widen(value) {
    wide = Math.min(value || rounds, rounds);
    for (const button of buttons) button.setAttribute("aria-pressed", String(+button.dataset.wide === value));
    $("from").max = rounds - wide;
    $("from").disabled = wide === rounds;
    draw();
  }

  for (const button of buttons) {
    button.hidden = +button.dataset.wide >= rounds;
    button.addEventListener("click", () => widen(+button.dataset.wide));
  }
  $("from").addEventListener("input", draw);
  $("timeline").addEventListener("pointermove", point);
  $("timeline").addEventListener("pointerdown", point);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", draw);
  $("from").max = rounds;
  $("from").value = Math.floor(rounds / 2) - 10; // the middle, where the clients have come apart, and some may leave
  widen(rounds > 20 ? 20 : 0);
})();

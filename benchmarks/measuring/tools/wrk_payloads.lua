-- Posts the lines of the file PAYLOADS in turn, each a JSON document; at the end prints what happened, as JSON.
local bodies, sent = {}, 0
for line in io.lines(os.getenv("PAYLOADS")) do
  bodies[#bodies + 1] = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, line)
end

function request()
  sent = sent + 1
  return bodies[(sent - 1) % #bodies + 1]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "refused": %d, "broken": %d, "p50_us": %.1f, "p99_us": %.1f}\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end

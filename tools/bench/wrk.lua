-- What wrk runs: each request has the next token of a file, and in the end there is a line of JSON.
--   wrk … -s wrk.lua URL -- METHOD PATH FILE      (FILE: a token on each line; without it, none is sent)

local requests, sent = {}, 0

function init(args)
  local method, path, file = args[1], args[2], args[3]
  local function add(token)
    if token then wrk.headers["Authorization"] = "Bearer " .. token end
    local body = nil
    if method == "PATCH" then
      wrk.headers["Content-Type"] = "application/json"
      body = string.format('{"display_name":"Ana %d"}', #requests)
    end
    requests[#requests + 1] = wrk.format(method, path, nil, body)
  end
  if file then
    for token in io.lines(file) do add(token) end
  else
    add(nil)
  end
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"broken":%d,"refused":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status
  ))
end

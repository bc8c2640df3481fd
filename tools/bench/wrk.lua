-- wrk … -s wrk.lua URL -- FILE NUMBER
-- Sends the requests of FILE in turn (whole HTTP requests, separated by NUL) and prints a line of JSON at the end.
-- `000number000` in a request is replaced by a number that counts up from NUMBER.

local PLACEHOLDER = "000number000"
local requests, sent, number, numbered = {}, 0, 0, false

function init(args)
  for request in io.open(args[1], "rb"):read("*a"):gmatch("[^%z]+") do
    requests[#requests + 1] = request
  end
  number = tonumber(args[2])
  numbered = requests[1]:find(PLACEHOLDER, 1, true) ~= nil
end

function request()
  sent = sent % #requests + 1
  if not numbered then return requests[sent] end
  number = number + 1
  return (requests[sent]:gsub(PLACEHOLDER, string.format("%012.0f", number)))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"broken":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status
  ))
end

-- What wrk sends: GET or POST requests, each with the next token of a file.
-- Arguments: file, first token (from 0), tokens in rotation, method, ms before each, stream or not, [file to change to, after how many].

local requests, sent = {}, 0
local others, change_after = {}, math.huge
local body = '{"messages":[{"role":"user","content":"' .. string.rep("Why is the sky blue? ", 93) .. '"}],"stream":%s}'

local function prepare(path, method, most)
  local headers = {
    ["authorization"] = "Bearer TOKEN", ["accept"] = "application/json",
    ["content-type"] = "application/json", ["user-agent"] = "AsyncOpenAI/Python 1.2.3",
    ["x-stainless-lang"] = "python",
  }
  local form = wrk.format(method, nil, headers, method == "POST" and body or nil)
  local before, after = form:match("^(.-)TOKEN(.*)$")
  local list = {}
  for token in io.lines(path) do
    if #list == most then break end
    list[#list + 1] = before .. token .. after
  end
  return list
end

function init(args)
  body = body:format(args[6])
  requests = prepare(args[1], args[4], tonumber(args[3]))
  sent = tonumber(args[2])
  local pause = tonumber(args[5])
  -- wrk is slower if there is a function of this name.
  if pause > 0 then delay = function() return pause end end
  if args[7] then
    others = prepare(args[7], args[4], math.huge)
    change_after = sent + tonumber(args[8])
  end
end

function request()
  sent = sent + 1
  local list = sent > change_after and others or requests
  return list[(sent - 1) % #list + 1]
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format("RESULT %d %d %d %d %d %d", summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end

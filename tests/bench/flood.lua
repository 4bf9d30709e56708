-- SPDX-License-Identifier: MIT
-- A flood of logins: each from an address of its own, every other one for an account that exists.
local n, known = 0, os.getenv("FLOOD_EMAIL")

function delay()
  return math.random(0, 2000) -- each connection once a second, and not all at the same moment
end

function request()
  n = n + 1
  local email = n % 2 == 0 and known or string.format("nobody-%d@example.org", n)
  local address = string.format("100.%d.%d.%d", 64 + math.random(0, 63), math.random(0, 255), math.random(1, 254))
  return wrk.format("POST", "/v1/sessions",
                    { ["Content-Type"] = "application/json", ["X-Forwarded-For"] = address },
                    string.format('{"email":"%s","password":"guess number %d"}', email, n))
end

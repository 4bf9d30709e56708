-- SPDX-License-Identifier: MIT
-- wrk script: an order with a fresh Idempotency-Key in each request, so that every one is a durable write.
local count = 0
local run = string.format("%x-%x", os.time(), math.random(0, 0x7fffffff))
local body = '{"items":[{"sku":"bench-%d","quantity":1},{"sku":"bench-%d","quantity":2}]}'

request = function()
   count = count + 1
   local headers = {}
   for name, value in pairs(wrk.headers) do
      headers[name] = value
   end
   headers["Content-Type"] = "application/json"
   headers["Idempotency-Key"] = string.format('"%s-%d"', run, count)
   local first = count % 100
   return wrk.format("POST", nil, headers, string.format(body, first, (first + 50) % 100))
end

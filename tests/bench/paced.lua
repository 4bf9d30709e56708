-- SPDX-License-Identifier: MIT
-- Moderate load: each connection rests between two requests.
function delay()
  return 10
end

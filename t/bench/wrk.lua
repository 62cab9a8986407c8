-- wrk -s wrk.lua URL -- [BEFORE BEHIND]: GET, or POST of a message with a new
-- task id between these two texts in each request.

local request_head, request_tail, count

function init(args)
    count = 0

    if #args == 2 then
        local length = #args[1] + 12 + #args[2]

        request_head = 'POST ' .. wrk.path .. ' HTTP/1.1\r\nHost: '
                       .. wrk.host .. '\r\nContent-Type: application/json\r\n'
                       .. 'Content-Length: ' .. length .. '\r\n\r\n' .. args[1]
        request_tail = args[2]

        request = function()
            count = count + 1
            return request_head .. string.format('%012d', count)
                   .. request_tail
        end
    end
end

function done(summary, latency, requests)
    local errors = summary.errors
    local seconds = summary.duration / 1e6

    io.write(string.format('{"n": %d, "seconds": %.6f, "rate": %.1f, '
                           .. '"errors": %d}\n', summary.requests, seconds,
                           summary.requests / seconds,
                           errors.connect + errors.read + errors.write
                           + errors.status + errors.timeout))
end

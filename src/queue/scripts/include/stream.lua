-- Publish the events that a task streams, those that were not published before:
-- ARGV from first to last, of which the first has that index.

local function is_gap(task, index, first, last)
    return index > tonumber(task.streamed) and first <= last
end

local gap = 'GAP events before these have not come yet'

local function stream_events(task, channel, index, first, last)
    local streamed = tonumber(task.streamed)

    for i = first, last do
        if index == streamed then
            redis.call('PUBLISH', channel, ARGV[i])
            streamed = streamed + 1
        end

        index = index + 1
    end

    task.streamed = string.format('%.0f', streamed)
end

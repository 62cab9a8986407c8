-- Publish the events that a task streams, those that were not published before:
-- ARGV from first to the last but one, of which the first has that index.  Those
-- before it are still to come, unless the last of ARGV is 1: they were taken, and
-- are lost, as by a failover to a replica that they had not reached.

local gap = 'GAP events before these have not come yet'
local is_lost = ARGV[#ARGV] == '1'

local function is_gap(task, index)
    return index > tonumber(task.streamed) and not is_lost
end

local function stream_events(task, channel, index, first)
    local streamed = math.max(tonumber(task.streamed), index)

    for i = first, #ARGV - 1 do
        if index == streamed then
            redis.call('PUBLISH', channel, ARGV[i])
            streamed = streamed + 1
        end

        index = index + 1
    end

    task.streamed = string.format('%.0f', streamed)
end

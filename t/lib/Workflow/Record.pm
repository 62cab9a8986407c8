package Workflow::Record;

# Tasks as they stand in Redis, see src/queue/scripts/include/task.lua.

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(task_in put_task read_record enqueue);

my @fields = qw(state entry worker claim attempts streamed marks updated
    created digest);

sub key {
    my ($service, $id) = @_;
    return "{llama_deploy.$service}:task:$id";
}

# Fields and parts by their names; none of a task that is not there.

sub task_in {
    my ($client, $service, $id) = @_;
    return read_record($client->get(key($service, $id)));
}

sub read_record {
    my ($text) = @_;
    return {} if !defined $text;

    my ($line, $rest) = split /\n/, $text, 2;
    my %task;
    (@task{@fields}, my $parts) = split / /, $line;

    while ($parts =~ /(\w+)=(\d+)/g) {
        $task{$1} = substr $rest, 0, $2, '';
    }

    return \%task;
}

sub put_task {
    my ($client, $service, $id, $task) = @_;
    my @parts = grep { defined $task->{$_} }
        qw(session reply input saved result error);
    my $names = join ',', map { "$_=" . length $task->{$_} } @parts;

    $client->set(key($service, $id), join(' ', @$task{@fields}, $names || '-')
        . "\n" . join '', @$task{@parts});
}

# A task in the queue, of which no worker was told.

sub enqueue {
    my ($client, $service, $id, $input) = @_;
    $client->eval(<<'LUA', 2, "{llama_deploy.$service}:queue",
local entry = redis.call('XADD', KEYS[1], '*', 'task', ARGV[1], 'input',
                         ARGV[2])
redis.call('SET', KEYS[2], 'queued ' .. entry .. ' - 0 0 0 - - 2 1 -\n')
LUA
        key($service, $id), $id, $input);
}

1;

package Bench::Tasks;

# Tasks a second.

use strict;
use warnings;

# Caps of one worker; with_two: also two workers.

sub measure {
    my ($report, $stand, %size) = @_;
    my $n = $size{tasks};
    my %service = (8 => 'echo', 64 => 'echo64', 1024 => 'echo1024');

    my $samples = $report->rounds('tasks',
        floor => sub { $stand->drain_floor($n) },
        map {
            my $service = $service{$_};
            ($_ => sub { $stand->drain($service, $n) });
        } @{ $size{caps} });

    $report->group("Tasks of the workflow echo, $n queued",
        'claim and finish scripts, pipelined by a C loop: no NGINX, no JSON');

    for my $cap (@{ $size{caps} }) {
        $report->row("one worker, max_concurrent_tasks $cap", unit => '1/s',
            at_least => $cap == 8 ? 0.35 : 0.6,
            floor => $samples->{floor}{rate}, ours => $samples->{$cap}{rate});
    }
}

1;

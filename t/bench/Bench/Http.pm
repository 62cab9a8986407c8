package Bench::Http;

# GET and POST, by wrk.

use strict;
use warnings;

use Workflow;
use Bench::Machine;
use Bench::Report;
use Bench::Tool;

sub measure {
    my ($report, $stand, %size) = @_;
    my $nginx = $stand->nginx;
    my $seconds = $size{http_seconds};

    my $get = $report->rounds('GET', map {
        my $url = $nginx->url($_->[1]);
        ($_->[0] => sub { wrk($stand, $url, $seconds) });
    } [floor => '/floor/get'], [ours => '/intake/']);

    $report->group('HTTP, 64 connections that are kept, one worker',
        '"return 200" of a text of the same size by the same NGINX');
    $report->row('GET <location>/', unit => '1/s', at_least => 0.9,
        floor => $get->{floor}{rate}, ours => $get->{ours}{rate});
    $report->row('processor time of NGINX for it', unit => 'us',
        floor => $get->{floor}{cpu}, ours => $get->{ours}{cpu});

    my $post = $report->rounds('POST',
        nginx => sub { wrk($stand, $nginx->url('/floor/post'), $seconds,
            $stand->message_parts) },
        redis => sub { $stand->flush; $stand->bench('fill',
            service => 'intake', n => $size{accepted}) },
        ours => sub { accepted($stand, $seconds) });

    $report->group('POST <location>/process_message, accepted into Redis',
        '"return 200", which reads and drops the body; and the script that'
        . ' accepts, pipelined by a C loop');
    my @goals = map { [median($post->{$_}{rate}), $_] } qw(nginx redis);
    my ($slower) = sort { $a->[0] <=> $b->[0] } @goals;

    for (@goals) {
        my $name = $_->[1];
        $report->row("beside $name" . ($name eq $slower->[1]
                ? ', the slower' : ''), unit => '1/s',
            $name eq $slower->[1] ? (at_least => 0.5) : (),
            floor => $post->{$name}{rate}, ours => $post->{ours}{rate});
    }

    $report->row('processor time of NGINX for it', unit => 'us',
        floor => $post->{nginx}{cpu}, ours => $post->{ours}{cpu});
}

# wrk, with the microseconds that the worker's processor needs for a request:
# it is wrk that cannot do more of the small ones.

sub wrk {
    my ($stand, $url, @arguments) = @_;
    my @workers = $stand->nginx->workers;
    my $before = Bench::Machine::used(@workers);
    my $answer = Bench::Tool::wrk($url, @arguments);

    $answer->{cpu} = 1e6 * (Bench::Machine::used(@workers) - $before)
        / $answer->{n};
    return $answer;
}

sub median { return Bench::Report::spread(@{ $_[0] })->{median} }

# What was answered is in Redis.

sub accepted {
    my ($stand, $seconds) = @_;

    $stand->flush;
    my $answer = wrk($stand, $stand->nginx->url('/intake/process_message'),
        $seconds, $stand->message_parts);
    my $queued = $stand->length_of('intake');
    die "$answer->{n} tasks were accepted, $queued are queued\n"
        if $queued < $answer->{n};
    return $answer;
}

1;

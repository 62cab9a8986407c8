package Bench::Tool;

# Programs that put load on, and what they print.

use strict;
use warnings;

use Workflow ();

our $program = ($ENV{BUILD} // 'build') . '/bench/bench';
my %running;
my $sequence = 0;

# Run a program; returns what its last line says, in JSON.  What it starts is of
# its process group, and is ended with it.

sub run {
    my (@command) = @_;

    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        setpgrp;
        close $read;
        open STDOUT, '>&', $write or die;
        exec @command or die "$command[0]: $!\n";
    }

    close $write;
    $running{$pid} = '-KILL';
    my @lines = <$read>;
    waitpid $pid, 0;
    my $status = $?;
    kill '-KILL', $pid;
    delete $running{$pid};

    die "@command: failed\n" if $status || !@lines;
    return Workflow::from_json($lines[-1]);
}

# bench($command, name => value...); each run has ids of its own, unless it is
# told which.

sub bench {
    my ($command, %options) = @_;
    $options{id} //= new_id();
    return run($program, $command, map { "$_=$options{$_}" }
        sort keys %options);
}

# What begins the ids of tasks.

sub new_id { return sprintf 'b%07d', ++$sequence }

# wrk: with one thread, as one core is nginx'.

sub wrk {
    my ($url, $seconds, @arguments) = @_;
    my $answer = run('wrk', '-t1', '-c64', "-d${seconds}s", '-s',
        't/bench/wrk.lua', $url, '--', @arguments);
    die "$url: $answer->{errors} requests were not answered by 200\n"
        if $answer->{errors};
    return $answer;
}

# One that goes on until the object goes away; its first line is {line}.

sub start {
    my ($class, @command) = @_;

    pipe my $read, my $write or die "pipe: $!";
    pipe my $in, my $out or die "pipe: $!";
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        close $_ for $read, $out;
        open STDIN, '<&', $in or die;
        open STDOUT, '>&', $write or die;
        exec @command or die "$command[0]: $!\n";
    }

    close $_ for $write, $in;
    $running{$pid} = 'KILL';
    my $line = <$read> // die "@command: has not started\n";
    return bless { pid => $pid, in => $out, line => $line, out => $read },
        $class;
}

sub stop {
    my ($self) = @_;
    local ($?, $!);
    return if !$self->{pid} || !$running{$self->{pid}};
    kill 'TERM', $self->{pid};
    waitpid $self->{pid}, 0;
    delete $running{$self->{pid}};
}

sub DESTROY { $_[0]->stop }

# Whatever happens, nothing is left behind.

sub kill_all {
    local ($?, $!);
    my @pids = keys %running;
    kill $running{$_}, $_ for @pids;
    waitpid $_, 0 for @pids;
    %running = ();
}

1;

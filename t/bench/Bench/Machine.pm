package Bench::Machine;

# What the machine does besides: processor time of all processes and of ours,
# the load, the memory of a process.

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(time sleep);

use constant { TICKS => POSIX::sysconf(POSIX::_SC_CLK_TCK()), LOOK => 0.2 };

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or return undef;
    local $/;
    return scalar <$file>;
}

# Seconds of all processors since the start of the machine, in programs and in
# the kernel for them; what other guests of the host have taken counts, too.

sub busy {
    my ($user, $nice, $system, $idle, $iowait, $irq, $softirq, $steal)
        = slurp('/proc/stat') =~ /^cpu\s+(.*)/m ? split ' ', $1 : die;
    return ($user + $nice + $system + ($steal // 0)) / TICKS;
}

# pid => [parent, seconds of its own, with those of its children that have
# ended]

sub processes {
    my %processes;

    for my $path (glob '/proc/[0-9]*/stat') {
        my ($pid, $rest) = (slurp($path) // next) =~ /^(\d+) \(.*\) (.*)/s
            or next;
        my @fields = split ' ', $rest;
        my $ticks = 0;
        $ticks += $_ for @fields[11 .. 14];
        $processes{$pid} = [$fields[1], $ticks / TICKS];
    }

    return \%processes;
}

# Seconds of this process and of those that it has started.

sub ours {
    my $processes = processes();
    my $seconds = 0;

    for my $pid (keys %$processes) {
        my $at = $pid;
        $at = $processes->{$at}[0] while $at != $$ && $processes->{$at};
        $seconds += $processes->{$pid}[1] if $at == $$;
    }

    return $seconds;
}

# Seconds that some processes have used.

sub used {
    my (@pids) = @_;
    my $processes = processes();
    my $seconds = 0;
    $seconds += $_ ? $_->[1] : 0 for @$processes{@pids};
    return $seconds;
}

# A mark, and the share of a processor that others have used since then.

sub mark { return [time, busy() - ours()] }

sub others {
    my ($mark) = @_;
    my $now = mark();
    my $share = ($now->[1] - $mark->[1]) / ($now->[0] - $mark->[0]);
    return $share > 0 ? $share : 0;
}

# The same for a moment in which nothing of ours is done.

sub look {
    my $mark = mark();
    sleep LOOK;
    return others($mark);
}

sub load { return (split ' ', slurp('/proc/loadavg'))[0] }

sub cores { return scalar(() = slurp('/proc/stat') =~ /^cpu\d/mg) }

sub model {
    my ($model) = (slurp('/proc/cpuinfo') // '') =~ /^model name\s*:\s*(.*)/m;
    return $model // 'unknown';
}

# Processors that a process may run on, as "0,1,2"; and put it, all of its threads
# and what it starts from now on, on others.

sub processors {
    my ($pid) = @_;
    my ($list) = (slurp("/proc/$pid/status") // '')
        =~ /^Cpus_allowed_list:\s+(\S+)/m or die "process $pid: $!";
    return join ',', map { /^(\d+)-(\d+)$/ ? ($1 .. $2) : $_ } split /,/,
        $list;
}

sub confine {
    my ($pid, $list) = @_;
    open my $saved, '>&', \*STDOUT or die;
    open STDOUT, '>', '/dev/null' or die;
    my $failed = system 'taskset', '-a', '-c', '-p', $list, $pid;
    open STDOUT, '>&', $saved or die;
    die "taskset: process $pid is not put on $list\n" if $failed;
}

# Kilobytes of a process: resident, and its share of them.

sub memory {
    my ($pid) = @_;
    my $text = slurp("/proc/$pid/smaps_rollup") // die "process $pid: $!";
    my ($rss) = $text =~ /^Rss:\s+(\d+)/m;
    my ($pss) = $text =~ /^Pss:\s+(\d+)/m;
    return ($rss, $pss);
}

1;

package Bench::Report;

# Rounds, the samples that come of them, and the table.

use strict;
use warnings;

use List::Util qw(max min);
use POSIX ();
use Time::HiRes qw(time);

use Workflow ();
use Bench::Machine;

use constant { ROUNDS => 5, DISTURBED => 0.15 };

# mode; rounds; patience: seconds for rounds that are repeated because of others

sub new {
    my ($class, %options) = @_;
    return bless { rows => [], notes => [], began => time, load => [],
        others => [], rounds => ROUNDS, measured => 0, repeated => 0,
        disturbed => 0, %options }, $class;
}

# rounds($title, name => code...): A B A B ..., each giving a hash of numbers;
# returns {name}{number} = [one of each round].  A round while which, or before
# which, others have used much of a processor is repeated, as long as a quarter
# of the patience that is left allows it.

sub rounds {
    my ($self, $title, @codes) = @_;
    my (%samples, @order);

    while (my ($name, $code) = splice @codes, 0, 2) {
        push @order, [$name, $code];
    }

    my $start = time;
    my $patience = $self->{patience} / 4;
    print STDERR "$title ";

    for (my $round = 0; $round < $self->{rounds}; $round++) {
        my $began = time;
        my $before = Bench::Machine::look();
        my $mark = Bench::Machine::mark();
        my %taken;

        push @{ $self->{load} }, Bench::Machine::load();

        for (@order) {
            my ($name, $code) = @$_;
            $taken{$name} = $code->();
        }

        my $others = max($before, Bench::Machine::others($mark));
        my $spent = time - $began;
        push @{ $self->{others} }, $others;

        if ($others > DISTURBED && $patience > $spent) {
            $patience -= $spent;
            $self->{patience} -= $spent;
            $self->{repeated}++;
            print STDERR 'r';
            $round--;
            next;
        }

        $self->{disturbed}++ if $others > DISTURBED;
        $self->{measured}++;
        print STDERR $others > DISTURBED ? '!' : '.';

        for my $name (keys %taken) {
            push @{ $samples{$name}{$_} }, $taken{$name}{$_}
                for keys %{ $taken{$name} };
        }
    }

    printf STDERR " %.0f s\n", time - $start;
    return \%samples;
}

# A heading with what the floor of the rows below it is.

sub group {
    my ($self, $heading, $floor) = @_;
    $self->{group} = [$heading, $floor];
}

# row($what, unit, ours => [samples], floor => [samples], at_least => or
# at_most => the ratio that is the goal; difference 1: and not the ratio);
# without floor or goal it is reported.

sub row {
    my ($self, $what, %row) = @_;
    my @ratios;

    if ($row{floor}) {
        @ratios = map {
            $row{difference} ? $row{ours}[$_] - $row{floor}[$_]
                : $row{ours}[$_] / $row{floor}[$_];
        } 0 .. min($#{ $row{ours} }, $#{ $row{floor} });
        $row{ratio} = spread(@ratios);
        $row{floor} = spread(@{ $row{floor} });
    }

    $row{ours} = spread(@{ $row{ours} });
    $row{what} = $what;
    @row{qw(group floor_is)} = @{ $self->{group} };

    my $measured = $row{ratio} // $row{ours};
    my $ratio = $measured->{median};
    my ($least, $most) = delete @row{qw(at_least at_most)};

    if (defined $least) {
        $row{goal} = ">= $least";
        $row{reached} = $ratio >= $least;
        $row{far} = $ratio < $least / 2;

    } elsif (defined $most) {
        $row{goal} = "<= $most";
        $row{reached} = $ratio <= $most;
        $row{far} = $ratio > $most * 2;
    }

    $_ = $_ ? JSON::PP::true() : JSON::PP::false()
        for grep { defined } @row{qw(reached far)};
    push @{ $self->{rows} }, \%row;
}

sub note { my ($self, @notes) = @_; push @{ $self->{notes} }, @notes }

sub spread {
    my @sorted = sort { $a <=> $b } @_;
    my $half = int(@sorted / 2);
    my $median = @sorted % 2 ? $sorted[$half]
        : ($sorted[$half - 1] + $sorted[$half]) / 2;
    return { median => $median, min => $sorted[0], max => $sorted[-1],
        samples => [@_] };
}


# Rows that are below half of their goal.

sub far { return grep { $_->{far} } @{ $_[0]{rows} } }

# Three digits that count.

sub number {
    my ($n) = @_;
    return '0' if $n == 0;
    my ($unit, $by) = abs $n >= 1e6 ? ('M', 1e6)
        : abs $n >= 1e4 ? ('k', 1e3) : ('', 1);
    my $digits = 2 - POSIX::floor(POSIX::log10(abs $n / $by));
    $digits = $digits < 0 ? 0 : abs $n < 0.1 ? 4 : $digits > 2 ? 2 : $digits;
    return sprintf("%.${digits}f", $n / $by) . $unit;
}

sub text_of {
    my ($spread) = @_;
    return '' if !$spread;
    return number($spread->{median}) if @{ $spread->{samples} } == 1;
    return number($spread->{median}) . ' (' . number($spread->{min}) . '..'
        . number($spread->{max}) . ')';
}

sub print_line {
    my $line = sprintf '%-46s %-21s %-21s %-18s %-8s%s', @_;
    $line =~ s/\s+$//;
    print "$line\n";
}

sub print_table {
    my ($self) = @_;
    my ($group, $floor) = ('', '');

    print "\n";
    print_line('median (min..max)', qw(floor ours ratio goal), '');

    for my $row (@{ $self->{rows} }) {
        if ($row->{group} ne $group) {
            $group = $row->{group};
            print "\n$group\n";
        }

        if ($row->{floor_is} ne $floor) {
            $floor = $row->{floor_is};
            print "  floor: $floor\n";
        }

        print_line("  $row->{what}, $row->{unit}", text_of($row->{floor}),
            text_of($row->{ours}), ($row->{difference} ? '+' : '')
                . text_of($row->{ratio}), $row->{goal} // '',
            !defined $row->{goal} || $row->{reached} ? '' : 'MISSED');
    }

    print "\n", map { "- $_\n" } @{ $self->{notes} }, $self->surroundings;
    my @goals = grep { $_->{goal} } @{ $self->{rows} };
    my @reached = grep { $_->{reached} } @goals;
    printf "%d of %d goals are reached; %.0f seconds\n", scalar @reached,
        scalar @goals, time - $self->{began};
}

sub surroundings {
    my ($self) = @_;
    my @load = sort { $a <=> $b } @{ $self->{load} };
    return () if !$self->{measured};
    my $text = sprintf '%d rounds; load before them %s..%s; others used up to'
        . ' %.0f%% of a processor', $self->{measured}, $load[0], $load[-1],
        100 * max(@{ $self->{others} });
    $text .= "; $self->{repeated} more rounds were disturbed (over "
        . 100 * DISTURBED . '%) and repeated' if $self->{repeated};
    $text .= "; $self->{disturbed} of them were disturbed: THESE NUMBERS ARE"
        . ' NOT TO BE TRUSTED' if $self->{disturbed};
    return $text;
}

sub write_json {
    my ($self, $path, %more) = @_;

    open my $file, '>', "$path.new" or die "$path.new: $!";
    print $file Workflow::to_json({ mode => $self->{mode},
        seconds => time - $self->{began}, rows => $self->{rows},
        notes => $self->{notes}, surroundings => {
            load => [map { $_ + 0 } @{ $self->{load} }],
            others => $self->{others}, rounds => $self->{measured},
            repeated => $self->{repeated}, disturbed => $self->{disturbed},
            cores => Bench::Machine::cores(),
            model => Bench::Machine::model() }, %more }), "\n";
    close $file or die "$path.new: $!";
    rename "$path.new", $path or die "$path: $!";
}

1;

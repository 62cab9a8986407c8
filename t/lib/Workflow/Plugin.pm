package Workflow::Plugin;

# A plugin of the tests' own, t/plugins/NAME.c, compiled into a temporary
# directory that goes away with the object.

use strict;
use warnings;

use File::Temp ();

sub new {
    my ($class, $name) = @_;
    my $self = bless { name => $name, dir => File::Temp->newdir(
        'workflow-plugin-XXXXXX', TMPDIR => 1) }, $class;

    chmod 0755, "$self->{dir}";

    system($ENV{CC} // 'cc', qw(-std=gnu99 -Wall -Wextra -Wpedantic -Werror
        -O2 -g -fPIC -fvisibility=hidden -Iinclude -shared -o), $self->path,
        "t/plugins/$name.c", '-ljansson') == 0
        or die "t/plugins/$name.c does not compile\n";

    chmod 0644, $self->path;
    return $self;
}

# Compile a source text into the file $path with nothing but include/, and put
# it there by rename.

sub compile {
    my ($class, $path, $source) = @_;

    open my $file, '>', "$path.c" or die "$path.c: $!";
    print $file $source;
    close $file or die "$path.c: $!";

    system($ENV{CC} // 'cc', qw(-std=gnu99 -Wall -Wextra -Werror -Iinclude
        -shared -fPIC -o), "$path.new", "$path.c") == 0
        or die "$path.c does not compile\n";

    chmod 0644, "$path.new";
    rename "$path.new", $path or die "$path: $!";
    return $path;
}

sub path { return "$_[0]{dir}/$_[0]{name}.so" }

1;

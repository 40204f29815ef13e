# bash completion for vsrun; `make install` puts it in its place.

_vsrun_containers() {
	local root=() i
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == --root ]] && root=(--root "${COMP_WORDS[i + 1]}")
	done
	vsrun "${root[@]}" list --quiet 2>/dev/null
}

_vsrun() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= i
	local commands="checkpoint create delete doctor enter events exec explain features kill list pause ps restore resume run spec start stat state top update"
	local globals="--debug --log --log-format --root --rootless --systemd-cgroup --cgroup-manager --help --version"
	local criu="--image-path --work-path --tcp-established --ext-unix-sk --shell-job --lazy-pages --file-locks --manage-cgroups-mode
		--network-lock --empty-ns --auto-dedup"
	local create="--bundle --console-socket --pid-file --pidfd-socket --no-pivot --no-new-keyring --preserve-fds"

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--log | --log-format | --root | --rootless | --cgroup-manager) ((i++)) ;;
		-*) ;;
		*)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done

	case $prev in
	--root | --bundle | -b | --image-path | --work-path | --parent-path) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
	--log | --pid-file | --console-socket | --pidfd-socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--log-format) mapfile -t COMPREPLY < <(compgen -W "text json" -- "$cur"); return ;;
	--manage-cgroups-mode) mapfile -t COMPREPLY < <(compgen -W "soft full strict ignore" -- "$cur"); return ;;
	--network-lock) mapfile -t COMPREPLY < <(compgen -W "iptables nftables skip" -- "$cur"); return ;;
	--cgroup-manager) mapfile -t COMPREPLY < <(compgen -W "cgroupfs systemd disabled" -- "$cur"); return ;;
	--sort) mapfile -t COMPREPLY < <(compgen -W "cpu memory threads io name" -- "$cur"); return ;;
	--resources | -r) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--rootless) mapfile -t COMPREPLY < <(compgen -W "true false auto" -- "$cur"); return ;;
	--format | -f)
		case $command in
		list | ps | stat) mapfile -t COMPREPLY < <(compgen -W "table json" -- "$cur") ;;
		explain) mapfile -t COMPREPLY < <(compgen -W "text json" -- "$cur") ;;
		esac
		return
		;;
	esac

	local words
	case $command in
	"") words="$commands $globals" ;;
	checkpoint)
		words="$criu --parent-path --leave-running --tcp-skip-in-flight --link-remap --status-fd --page-server --pre-dump
			$(_vsrun_containers)"
		;;
	create) words=$create ;;
	restore)
		words="$criu --bundle --console-socket --detach --pid-file --no-subreaper --no-pivot --lsm-profile --lsm-mount-context
			--tcp-close"
		;;
	run) words="$create --detach --keep --no-subreaper" ;;
	start | state | enter | exec | pause | resume) words=$(_vsrun_containers) ;;
	events) words="--interval --stats $(_vsrun_containers)" ;;
	ps) words="--all --format $(_vsrun_containers)" ;;
	stat) words="--format --interval --watch $(_vsrun_containers)" ;;
	top) words="--interval --sort $(_vsrun_containers)" ;;
	update)
		words="--resources --memory --memory-reservation --memory-swap --cpu-share --cpu-quota --cpu-period --cpu-burst --cpu-idle
			--cpu-rt-period --cpu-rt-runtime --cpuset-cpus --cpuset-mems --pids-limit --blkio-weight --l3-cache-schema --mem-bw-schema
			$(_vsrun_containers)"
		;;
	delete) words="--force $(_vsrun_containers)" ;;
	kill)
		if [[ ${COMP_WORDS[COMP_CWORD - 2]} == kill && $prev != -* ]]; then
			words="HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH"
		else
			words="--all $(_vsrun_containers)"
		fi
		;;
	list) words="--format --quiet" ;;
	spec) words="--bundle --rootless" ;;
	explain)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur"; compgen -W "--format" -- "$cur")
		return
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _vsrun vsrun
